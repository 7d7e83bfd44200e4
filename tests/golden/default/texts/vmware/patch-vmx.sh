#!/bin/sh
# Connects an imported machine of the lab "lvslab" to the lab's networks: an OVA cannot
# name them, so its cards are on NAT or "hostonly" after the import.
#
#   sh patch-vmx.sh FILE.vmx [--role ROLE] [--check]
#
# The role is told by the number of cards, unless you give it. The old file is kept beside
# the new one. Status: 0 done or nothing to do, 1 cannot be done (or --check: is not), 2 usage.
set -u
LC_ALL=C
export LC_ALL

# role, card, connectionType, vnet
WIRING='
director 0 nat -
director 1 custom VMnet1
director 2 custom VMnet12
director 3 custom VMnet13
real-server 0 nat -
real-server 1 custom VMnet12
real-server 2 custom VMnet13
'

fail() { status=$1; shift; printf 'patch-vmx.sh: %s\n' "$*" >&2; exit "$status"; }
FILE=
ROLE=
CHECK=
while [ $# -gt 0 ]; do
    case $1 in
    --role) [ $# -gt 1 ] || fail 2 "--role wants a role"; ROLE=$2; shift ;;
    --check) CHECK=1 ;;
    -*) fail 2 "unknown option $1" ;;
    *) [ -z "$FILE" ] || fail 2 "one file at a time"; FILE=$1 ;;
    esac
    shift
done
[ -n "$FILE" ] || fail 2 "usage: patch-vmx.sh FILE.vmx [--role ROLE] [--check]"
[ -f "$FILE" ] || fail 2 "$FILE: there is no such file"
folder=$(dirname "$FILE")
if [ -e "$FILE.lck" ]; then
    fail 1 "$FILE: VMware has it open ($FILE.lck): power the machine off and close its tab"
fi
for state in "$folder"/*.vmem "$folder"/*.vmss; do
    case $state in *-Snapshot[0-9]*.vmem) continue ;; esac # a snapshot's: there while it is off, too
    [ ! -e "$state" ] || fail 1 "$FILE: the machine runs or is suspended ($(basename "$state")): power it off"
done

# The numbers of the cards that are there: 0, 2 and 3, if somebody took the second out.
present=$(awk '
    { line = tolower($0) }
    line ~ /^[ \t]*ethernet[0-9]\.present[ \t]*=[ \t]*"true"/ {
        sub(/^[ \t]*ethernet/, "", line)
        print substr(line, 1, 1)
    }' "$FILE" | sort -u | tr '\n' ' ')
cards=$(printf '%s' "$present" | wc -w)
cards=$((cards))
if [ -z "$ROLE" ]; then
    ROLE=$(printf '%s\n' "$WIRING" | awk -v cards="$cards" '
        NF == 4 { if (!($1 in count)) order[++roles] = $1; count[$1]++ }
        END { for (i = 1; i <= roles; i++) if (count[order[i]] == cards) print order[i] }')
    [ -n "$ROLE" ] || fail 1 "$FILE: it has $cards network cards, no role of the lab has so many"
    [ "$(printf '%s\n' "$ROLE" | wc -l)" -eq 1 ] || fail 2 "$FILE: more than one role has $cards cards: give --role"
fi
wired=$(printf '%s\n' "$WIRING" | awk -v role="$ROLE" 'NF == 4 && $1 == role' | wc -l)
[ "$wired" -gt 0 ] || fail 2 "there is no role $ROLE"
[ "$wired" -eq "$cards" ] || fail 1 "$FILE: it has $cards network cards, a $ROLE has $((wired))"

case $(uname -s) in
Linux) prefix=/dev/vmnet ;;
Darwin) prefix=vmnet ;;
*) prefix=VMnet ;;
esac
new="$FILE.lvslab-new"
export WIRING
awk -v role="$ROLE" -v prefix="$prefix" -v present="$present" '
    function quoted(text) { sub(/^[^"]*"/, "", text); sub(/".*$/, "", text); return text }
    BEGIN {
        split(present, card_number, " ")
        lines = split(ENVIRON["WIRING"], line, "\n")
        for (i = 1; i <= lines; i++)
            if (split(line[i], word, " ") == 4 && word[1] == role) {
                card = "ethernet" card_number[word[2] + 1]
                order[++count] = card ".connectiontype"; want[card ".connectiontype"] = word[3]
                name[card ".connectiontype"] = card ".connectionType"
                order[++count] = card ".vnet"; name[card ".vnet"] = card ".vnet"
                if (word[4] == "-") want[card ".vnet"] = ""
                else { sub(/^VMnet/, prefix, word[4]); want[card ".vnet"] = word[4] }
            }
    }
    {
        text = $0
        if (sub(/\r$/, "", text)) end = "\r"
        key = tolower(text); sub(/[ \t]*=.*$/, "", key); sub(/^[ \t]*/, "", key)
        if (!(key in want)) { print; next }
        if (key in done) next
        done[key] = 1
        if (want[key] == "") next
        if (quoted(text) == want[key]) { print; next }
        print name[key] " = \"" want[key] "\"" end
    }
    END {
        for (i = 1; i <= count; i++)
            if (!(order[i] in done) && want[order[i]] != "")
                print name[order[i]] " = \"" want[order[i]] "\"" end
    }' "$FILE" > "$new" || { rm -f "$new"; fail 1 "$FILE: stays as it was"; }

if cmp -s "$FILE" "$new"; then
    rm -f "$new"
    printf '%s: a %s, connected as the lab wants it\n' "$FILE" "$ROLE"
    exit 0
fi
printf '%s: a %s\n' "$FILE" "$ROLE"
diff "$FILE" "$new" | tr -d '\r' | grep '^[<>]' | sed 's/^</  was:   /; s/^>/  is now:/'
if [ -n "$CHECK" ]; then
    rm -f "$new"
    printf '%s\n' "nothing was changed (--check)"
    exit 1
fi
backup="$FILE.before-lvslab"
number=1
while [ -e "$backup" ]; do
    number=$((number + 1))
    backup="$FILE.before-lvslab-$number"
done
{ cp -p "$FILE" "$backup" && cat "$new" > "$FILE"; } || fail 1 "$FILE: could not be written; the old file is $backup"
rm -f "$new"
printf 'backup: %s\n' "$backup"
