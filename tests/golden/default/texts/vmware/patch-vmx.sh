#!/bin/sh
# Connects an imported machine of the lab "lvslab" to the lab's networks: an OVA cannot
# name them, so its cards are on NAT or "hostonly" after the import.
#
#   sh patch-vmx.sh FILE.vmx [--role ROLE] [--check]
#
# The role follows from the number of cards, unless you give it. The old file is kept beside
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

# Of a symbolic link the target is changed, and either name may be the one that is open.
demand_off() {
    if [ -e "$1.lck" ]; then
        fail 1 "$1: VMware has it open ($1.lck): power the machine off and close its tab"
    fi
    for state in "$(dirname "$1")"/*.vmem "$(dirname "$1")"/*.vmss; do
        case $state in *-Snapshot[0-9]*.vmem) continue ;; esac # a snapshot's: there while it is off, too
        [ ! -e "$state" ] || fail 1 "$1: the machine runs or is suspended ($(basename "$state")): power it off"
    done
}
NAME=$FILE
demand_off "$FILE"
while [ -L "$FILE" ]; do
    link=$(readlink "$FILE")
    case $link in /*) FILE=$link ;; *) FILE=$(dirname "$FILE")/$link ;; esac
    demand_off "$FILE"
done

# What the awk programs below begin with: a setting (`form`), its key and its value. VMware takes
# a value with or without quotes, and a comment behind it.
# shellcheck disable=SC2016 # awk expands it, not this shell
PARSE='
    function key_of(text) { sub(/[ \t]*=.*$/, "", text); sub(/^[ \t]*/, "", text); return tolower(text) }
    function value_of(text) {
        sub(/^[^=]*=[ \t]*/, "", text)
        if (sub(/^"/, "", text)) sub(/".*$/, "", text)
        else sub(/[ \t#].*$/, "", text)
        return text
    }
    BEGIN { form = "^[ \t]*[A-Za-z0-9_.:-]+[ \t]*=[ \t]*(\"[^\"]*\"|[^ \t\"#]*)[ \t]*(#.*)?$" }
    { text = $0; end = sub(/\r$/, "", text) ? "\r" : "" }
    '

# The numbers of the cards that are there, in the guest's order: it counts eth0, eth1, ... by PCI
# slot, which is function * 1024 + bridge * 32 + device. A card without one gets the next free one.
present=$(awk "$PARSE"'
    text ~ form { setting[key_of(text)] = value_of(text) }
    END {
        for (n = 0; n < 10; n++) {
            if (tolower(setting["ethernet" n ".present"]) !~ /^(true|t|yes|y|on|1)$/) continue
            there[n] = 1
            slot[n] = setting["ethernet" n ".pcislotnumber"]
            if (length(slot[n]) > 9 || slot[n] !~ /^[0-9]+$/) slot[n] = ""
            else taken[slot[n] + 0] = 1
        }
        free = 32
        for (n = 0; n < 10; n++) {
            if (!(n in there)) continue
            if (slot[n] == "") {
                while (free in taken) free++
                slot[n] = free
                taken[free] = 1
            }
            printf "%d %d %d %d\n", int(slot[n] / 32) % 32, int(slot[n] / 1024), slot[n] % 32, n
        }
    }' "$FILE" | sort -n -k 1,1 -k 2,2 -k 3,3 -k 4,4 | awk '{ printf "%s ", $4 }')
cards=$(printf '%s' "$present" | wc -w)
cards=$((cards))
if [ -z "$ROLE" ]; then
    ROLE=$(printf '%s\n' "$WIRING" | awk -v cards="$cards" '
        NF == 4 { if (!($1 in count)) order[++roles] = $1; count[$1]++ }
        END { for (i = 1; i <= roles; i++) if (count[order[i]] == cards) print order[i] }')
    [ -n "$ROLE" ] || fail 1 "$NAME: it has $cards network cards, no role of the lab has so many"
    [ "$(printf '%s\n' "$ROLE" | wc -l)" -eq 1 ] || fail 2 "$NAME: more than one role has $cards cards: give --role"
fi
wired=$(printf '%s\n' "$WIRING" | awk -v role="$ROLE" 'NF == 4 && $1 == role' | wc -l)
[ "$wired" -gt 0 ] || fail 2 "there is no role $ROLE"
[ "$wired" -eq "$cards" ] || fail 1 "$NAME: it has $cards network cards, a $ROLE has $((wired))"

case $(uname -s) in
Linux) prefix=/dev/vmnet ;;
Darwin) prefix=vmnet ;;
*) prefix=VMnet ;;
esac
new=$(mktemp "${TMPDIR:-/tmp}/lvslab.XXXXXX") || fail 1 "$NAME: stays as it was, there is no room in ${TMPDIR:-/tmp}"
trap 'rm -f "$new"' EXIT
export WIRING
awk -v role="$ROLE" -v prefix="$prefix" -v present="$present" "$PARSE"'
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
        if (end) all_end = end
        key = text ~ form ? key_of(text) : ""
        if (!(key in want)) { print; next }
        if (key in done) next
        done[key] = 1
        if (want[key] == "") next
        if (value_of(text) == want[key]) { print; next }
        print name[key] " = \"" want[key] "\"" all_end
    }
    END {
        for (i = 1; i <= count; i++)
            if (!(order[i] in done) && want[order[i]] != "")
                print name[order[i]] " = \"" want[order[i]] "\"" all_end
    }' "$FILE" > "$new" || fail 1 "$NAME: stays as it was"

if cmp -s "$FILE" "$new"; then
    printf '%s: a %s, connected as the lab wants it\n' "$NAME" "$ROLE"
    exit 0
fi
printf '%s: a %s\n' "$NAME" "$ROLE"
diff "$FILE" "$new" | tr -d '\r' | grep '^[<>]' | sed 's/^</  was:   /; s/^>/  is now:/'
if [ -n "$CHECK" ]; then
    printf '%s\n' "nothing was changed (--check)"
    exit 1
fi
backup="$FILE.before-lvslab"
number=1
while [ -e "$backup" ]; do
    number=$((number + 1))
    backup="$FILE.before-lvslab-$number"
done
# Written into the file, which stays its owner's and of the same mode; but what has another name
# elsewhere, as the files of a build have, stays there as it was: then a new file takes its place.
# shellcheck disable=SC2012 # the second word is all that is wanted, and stat is not the same everywhere
write() {
    if [ "$(ls -ld "$FILE" | awk '{ print $2 }')" -gt 1 ]; then
        own="$FILE.lvslab-new"
        cp -p "$FILE" "$own" && cat "$new" > "$own" && mv "$own" "$FILE"
    else
        cat "$new" > "$FILE"
    fi
}
{ cp -p "$FILE" "$backup" && write; } || fail 1 "$NAME: could not be written; the old file is $backup"
printf 'backup: %s\n' "$backup"
