#!/bin/sh
# The VMware networks of the lab "wide" on a Linux host.
#
#   sudo sh networks.sh          make them; other networks stay as they are
#   sh networks.sh --check       change nothing, report what is missing
#
# A network of the lab that has VMware's NAT now, or is bridged to a real card, is never changed:
# somebody uses it, and VRRP must not get out. That is said, and status 1.
#
# Status: 0 all is right, 1 something is not, 2 wrong usage, 3 something is missing here.
# --file FILE names another file than /etc/vmware/networking, --folder FOLDER another folder of
# machines than the one that this script is in.
set -u
LC_ALL=C
export LC_ALL
PATH="$PATH:/usr/sbin:/sbin"

FILE=/etc/vmware/networking
CHECK=
FOLDER=$(dirname "$0")
WANTED='
VNET_2_DHCP no
VNET_2_HOSTONLY_NETMASK 255.255.255.0
VNET_2_HOSTONLY_SUBNET 10.9.0.0
VNET_2_NAT no
VNET_2_VIRTUAL_ADAPTER yes
VNET_2_VIRTUAL_ADAPTER_ADDR 10.9.0.100
VNET_3_DHCP no
VNET_3_HOSTONLY_NETMASK 255.255.252.0
VNET_3_HOSTONLY_SUBNET 10.9.8.0
VNET_3_NAT no
VNET_3_VIRTUAL_ADAPTER no
'
HOST_ADDRESS=10.9.0.100/24
HOST_DEVICE=vmnet2
NETS="10.9.0.0/24 10.9.8.0/22"
NUMBERS="2 3"
DEVICES="vmnet2 vmnet3"

say() { printf '%s\n' "$*"; }
fail() { status=$1; shift; printf 'networks.sh: %s\n' "$*" >&2; exit "$status"; }

while [ $# -gt 0 ]; do
    case $1 in
    --check) CHECK=1 ;;
    --file) [ $# -gt 1 ] || fail 2 "--file wants a file"; FILE=$2; shift ;;
    --folder) [ $# -gt 1 ] || fail 2 "--folder wants a folder"; FOLDER=$2; shift ;;
    *) fail 2 "unknown word $1; usage: networks.sh [--check] [--file FILE] [--folder FOLDER]" ;;
    esac
    shift
done

[ -f "$FILE" ] || fail 3 "there is no $FILE: is VMware Workstation installed, and was it started once?"

# What the awk programs below begin with: the wanted answers, in order; then what the file says,
# line by line, in have[] and bridged[] (a number of a VMnet to the card). VMware writes
# `answer KEY VALUE` and `add_bridge_mapping CARD NUMBER`, and takes back by the same with
# `remove_`; versions before 7 wrote `answer VNET_12_INTERFACE CARD` for a bridge. People who edit
# the file write tabs, capitals, quotes, remarks and line ends of Windows.
export WANTED NUMBERS
# shellcheck disable=SC2016 # awk expands it, not this shell
PARSE='
    function plain(word) { gsub(/^["\047]|["\047]$/, "", word); return word }
    function yes(word) { return tolower(word) ~ /^(yes|y|true|t|on|1)$/ }
    function vmnet(word) { word = tolower(word); sub(/^(\/dev\/)?vmnet/, "", word); return word + 0 }
    function same(key, value) {
        # VMware leaves out an answer that is no
        if (want[key] == "no") return !yes(value)
        return want[key] == "yes" ? yes(value) : value == want[key]
    }
    function show(number) { return "VMnet" number }
    BEGIN {
        lines = split(ENVIRON["WANTED"], line, "\n")
        for (i = 1; i <= lines; i++)
            if (split(line[i], word, " ") == 2) { order[++count] = word[1]; want[word[1]] = word[2] }
        numbers = split(ENVIRON["NUMBERS"], number, " ")
    }
    {
        end = sub(/\r$/, "") ? "\r" : ""
        text = $0
        sub(/[ \t]#.*$/, "", text)
        fields = split(text, field, /[ \t]+/)
        first = fields && field[1] == "" ? 2 : 1
        verb = tolower(field[first])
        key = toupper(plain(field[first + 1]))
        value = plain(field[first + 2])
        if (verb == "answer") have[key] = value
        if (verb == "remove_answer") delete have[key]
        if (verb == "add_bridge_mapping") mapped[plain(field[first + 1])] = value
        if (verb == "remove_bridge_mapping") delete mapped[plain(field[first + 1])]
    }
    function bridges(   card, n) {
        for (card in mapped) bridged[vmnet(mapped[card])] = card
        n = have["VNL_DEFAULT_BRIDGE_VNET"]
        if (n != "" && n !~ /^-/) bridged[vmnet(n)] = "whatever card there is"
        for (n = 1; n < 256; n++)
            if (have["VNET_" n "_INTERFACE"] != "") bridged[n] = have["VNET_" n "_INTERFACE"]
    }
    function is_nat(n) { return yes(have["VNET_" n "_NAT"]) }
    '

# A network of the lab that somebody uses for something else: one line each. It is left alone.
taken() {
    awk "$PARSE"'
        END {
            bridges()
            for (i = 1; i <= numbers; i++) {
                n = number[i]
                if (is_nat(n))
                    printf "%s: has VMware%s NAT now, and a network with NAT is not changed: %s\n", show(n), "\047s",
                        "remove its NAT in the Virtual Network Editor, or ask for a lab with another VMnet"
                if (n in bridged)
                    printf "%s: is bridged to %s, a real network, where VRRP must not get: %s\n", show(n), bridged[n],
                        "make it host-only in the Virtual Network Editor, or ask for a lab with another VMnet"
            }
        }' "$FILE"
}

# What is wrong in the file, one line each.
differences() {
    awk "$PARSE"'
        END {
            bridges()
            for (i = 1; i <= count; i++) {
                key = order[i]
                split(key, part, "_")
                if (same(key, have[key]) || is_nat(part[2]) || part[2] in bridged) continue
                printf "VMnet%s: %s is %s, should be %s\n", part[2], key,
                    (have[key] == "" ? "not set" : have[key]), want[key]
            }
        }' "$FILE"
}

# Another network of this host with a subnet of the lab: two routes to one network.
clashes() {
    ip -4 -o addr show 2>/dev/null | awk -v own="$DEVICES" -v nets="$NETS" '
        function number(address,   part) {
            split(address, part, ".")
            return ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4]
        }
        function first(cidr, bits,   part) {
            split(cidr, part, "/")
            return int(number(part[1]) / 2 ^ (32 - bits))
        }
        function bits(cidr,   part) { split(cidr, part, "/"); return part[2] + 0 }
        BEGIN {
            count = split(nets, net, " ")
            split(own, device, " ")
            for (i in device) mine[device[i]] = 1
        }
        !($2 in mine) && bits($4) {
            for (i = 1; i <= count; i++) {
                common = bits($4) < bits(net[i]) ? bits($4) : bits(net[i])
                if (first($4, common) == first(net[i], common))
                    printf "%s has %s, which overlaps %s of the lab: disconnect it, or ask for a lab with other networks\n",
                        $2, $4, net[i]
            }
        }'
    awk "$PARSE"'
        END {
            for (key in want) if (key ~ /_HOSTONLY_SUBNET$/) subnet[want[key]] = 1
            for (n = 0; n < 256; n++) {
                key = "VNET_" n "_HOSTONLY_SUBNET"
                if (!(key in want) && (have[key] in subnet))
                    printf "VMnet%s has %s too, which the lab needs: give it another subnet first\n", n, have[key]
            }
        }' "$FILE"
}

# What is wrong on the running host, one line each.
live() {
    for device in $DEVICES; do
        addresses=$(ip -4 -o addr show dev "$device" 2>/dev/null | awk '{ print $4 }')
        if [ "$device" = "$HOST_DEVICE" ]; then
            [ "$addresses" = "$HOST_ADDRESS" ] ||
                say "$device: this host has ${addresses:-no address} there, should have $HOST_ADDRESS"
        elif [ -n "$addresses" ]; then
            say "$device: this host has $addresses there, should have none"
        fi
    done
}

# The machines in the folder that name their networks as Workstation on Windows does.
WINDOWS='^[ \t]*ethernet[0-9][.]vnet[ \t]*=[ \t]*"?vmnet[0-9]'
foreign() {
    for vmx in "$FOLDER"/*/*.vmx; do
        if [ -f "$vmx" ] && awk -v form="$WINDOWS" '
            tolower($0) ~ form { found = 1 }
            END { exit !found }' "$vmx"; then say "$vmx"; fi
    done
}

# The file itself behind any symbolic links.
real() {
    this=$1
    while [ -L "$this" ]; do
        link=$(readlink "$this")
        case $link in /*) this=$link ;; *) this=$(dirname "$this")/$link ;; esac
    done
    printf '%s\n' "$this"
}

spellings() {
    foreign | while IFS= read -r vmx; do
        if [ -e "$vmx.lck" ] || [ -e "$(real "$vmx").lck" ]; then
            say "$vmx: VMware has it open: power it off, close its tab and run this again"
        else
            say "$vmx: names VMnet..., on Linux it must be /dev/vmnet..."
        fi
    done
}

report() {
    problems=$(taken; differences; clashes; live; spellings)
    [ -z "$problems" ] && { say "all networks of the lab are there"; return 0; }
    say "$problems"
    return 1
}

if [ -n "$CHECK" ]; then
    report
    exit
fi

clash=$(taken; clashes)
[ -z "$clash" ] || fail 1 "$clash"
FILE=$(real "$FILE")

if [ -n "$(differences)" ] || [ -n "$(live)" ]; then
    command -v vmware-networks >/dev/null || fail 3 "the program vmware-networks is not there: install VMware Workstation"
    { [ -w "$FILE" ] && [ -w "$(dirname "$FILE")" ]; } || fail 3 "$FILE cannot be written: run this with sudo"
    # shellcheck disable=SC2009 # pgrep is not on every host
    if ps -e -o comm= | grep -q -x vmware-vmx; then
        fail 1 "virtual machines are running: power them off first, they would lose their networks"
    fi
    if [ -n "$(differences)" ]; then
        backup="$FILE.before-lvslab-$(date +%Y%m%d-%H%M%S)"
        cp -p "$FILE" "$backup" || fail 1 "no backup could be made"
        say "backup: $backup"
        differences
        new="$FILE.lvslab-new"
        # a copy first: it has the owner and the mode
        # shellcheck disable=SC2015 # whichever of the two fails
        cp -p "$FILE" "$new" && awk "$PARSE"'
            (verb == "answer" || verb == "remove_answer") && (key in want) {
                if (verb == "answer" && !(key in done)) {
                    print "answer", key, want[key]
                    done[key] = 1
                }
                next
            }
            { print $0 end }
            END { for (i = 1; i <= count; i++) if (!(order[i] in done)) print "answer", order[i], want[order[i]] }
        ' "$FILE" > "$new" || { rm -f "$new"; fail 1 "$FILE stays as it was"; }
    fi
    vmware-networks --stop >/dev/null 2>&1
    [ -z "${new-}" ] || mv "$new" "$FILE"
    vmware-networks --start >/dev/null 2>&1
fi

# A machine names a device, as Workstation on Linux writes it. The new file takes the old one's
# place whole, and a file that has another name elsewhere stays there as it was.
foreign | while IFS= read -r vmx; do
    target=$(real "$vmx")
    { [ ! -e "$vmx.lck" ] && [ ! -e "$target.lck" ]; } || continue
    new="$target.lvslab-new"
    if cp -p "$target" "$new" && awk -v form="$WINDOWS" '
        tolower($0) ~ form {
            match(tolower($0), /=[ \t]*"?vmnet/)
            at = RSTART + RLENGTH - 5
            $0 = substr($0, 1, at - 1) "/dev/" tolower(substr($0, at, 5)) substr($0, at + 5)
        }
        { print }' "$target" > "$new"; then
        mv "$new" "$target" && say "$vmx: names /dev/vmnet... now; its line in SHA256SUMS is that of the file before"
    else
        rm -f "$new"
    fi
done

# Exit statuses of VMware's programs are no guide: only what is there now counts.
report
