#!/bin/sh
# The VMware networks of the lab "wide" on a Linux host.
#
#   sudo sh networks.sh          make them; other networks stay as they are
#   sh networks.sh --check       change nothing, say what is missing
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

# What the awk programs below begin with: the wanted answers, in order.
export WANTED
PARSE='
    BEGIN {
        lines = split(ENVIRON["WANTED"], line, "\n")
        for (i = 1; i <= lines; i++)
            if (split(line[i], word, " ") == 2) { order[++count] = word[1]; want[word[1]] = word[2] }
    }'

# What the file says otherwise than it should, one line each.
differences() {
    awk "$PARSE"'
        $1 == "answer" && NF >= 3 { have[$2] = $3 }
        END {
            for (i = 1; i <= count; i++) {
                key = order[i]
                split(key, part, "_")
                # VMware leaves out an answer that is no
                if (have[key] == want[key] || (want[key] == "no" && have[key] == "")) continue
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
        BEGIN { for (key in want) if (key ~ /_HOSTONLY_SUBNET$/) subnet[want[key]] = 1 }
        $1 == "answer" && $2 ~ /_HOSTONLY_SUBNET$/ && ($3 in subnet) && !($2 in want) {
            split($2, part, "_")
            printf "VMnet%s has %s too, which the lab needs: give it another subnet first\n", part[2], $3
        }' "$FILE"
}

# What the running host has otherwise than it should.
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
foreign() {
    for vmx in "$FOLDER"/*/*.vmx; do
        if [ -f "$vmx" ] && grep -q '^ethernet[0-9]*\.vnet = "VMnet' "$vmx"; then say "$vmx"; fi
    done
}

spellings() {
    foreign | while IFS= read -r vmx; do
        if [ -e "$vmx.lck" ]; then
            say "$vmx: VMware has it open: power it off, close its tab and run this again"
        else
            say "$vmx: names VMnet..., on Linux it must be /dev/vmnet..."
        fi
    done
}

report() {
    problems=$(differences; clashes; live; spellings)
    [ -z "$problems" ] && { say "all networks of the lab are there"; return 0; }
    say "$problems"
    return 1
}

if [ -n "$CHECK" ]; then
    report
    exit
fi

clash=$(clashes)
[ -z "$clash" ] || fail 1 "$clash"

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
        awk "$PARSE"'
            $1 == "answer" && ($2 in want) { if (!($2 in done)) print "answer", $2, want[$2]; done[$2] = 1; next }
            { print }
            END { for (i = 1; i <= count; i++) if (!(order[i] in done)) print "answer", order[i], want[order[i]] }
        ' "$FILE" > "$new" || { rm -f "$new"; fail 1 "$FILE stays as it was"; }
        chmod 644 "$new"
    fi
    vmware-networks --stop >/dev/null 2>&1
    [ -z "${new-}" ] || mv "$new" "$FILE"
    vmware-networks --start >/dev/null 2>&1
fi

# A machine names a device, as Workstation on Linux writes it. The new file takes the old one's
# place whole, and a file that has another name elsewhere stays there as it was.
foreign | while IFS= read -r vmx; do
    [ ! -e "$vmx.lck" ] || continue
    new="$vmx.lvslab-new"
    if cp -p "$vmx" "$new" && sed 's|^\(ethernet[0-9]*\.vnet = "\)VMnet|\1/dev/vmnet|' "$vmx" > "$new"; then
        mv "$new" "$vmx" && say "$vmx: names /dev/vmnet... now; its line in SHA256SUMS is that of the file before"
    else
        rm -f "$new"
    fi
done

# Exit statuses of VMware's programs are no guide: only what is there now counts.
report
