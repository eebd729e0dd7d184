#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The examples in conf/examples: pawsd takes each without an error or a warning and has rules for it, the manual and the Makefile know
# them, and what keepalived calls does what its head says. No root. Prints TAP. Usage: test_examples.sh [BUILD].
set -euo pipefail

cd "$(dirname "$0")/../.."
BUILD=${1:-${BUILD:-build}}
PAWSD=$BUILD/pawsd
EXAMPLES=conf/examples
DIR=$(mktemp -d "${TMPDIR:-/tmp}/pawsd-examples.XXXXXX")
COUNT=0 FAILED=0 DONE=''

clean_up() {
	[ -n "$DONE" ] || echo "Bail out! ended after test $COUNT"
	rm -rf "$DIR"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# check WORDS COMMAND...: one line of TAP; what the command printed goes below it when it fails.
check() {
	local words=$1
	shift
	COUNT=$((COUNT + 1))
	if "$@" >"$DIR/check.log" 2>&1; then
		echo "ok $COUNT - $words"
	else
		echo "not ok $COUNT - $words"
		sed 's/^/# /' "$DIR/check.log"
		FAILED=$((FAILED + 1))
	fi
}

skip() {
	COUNT=$((COUNT + 1))
	echo "ok $COUNT - $1 # SKIP $2"
}

# ---- configurations ----

is_good() { "$PAWSD" --check "$1" >"$DIR/said" 2>&1 && [ "$(wc -l <"$DIR/said")" = 1 ] && grep ': good: ' "$DIR/said"; }
has_rules() { "$PAWSD" -c "$1" --print-rules | grep -c "$2" >/dev/null; }

files=$(find $EXAMPLES -name '*.conf' ! -name 'keepalived*' | sort)
check "there are four" [ "$(wc -l <<<"$files")" = 4 ]
for file in $files; do
	check "$file: no error, no warning" is_good "$file"
	case $(sed -n 's/^backend = //p' "$file") in
	nft) check "$file: rules for nft" has_rules "$file" 'table inet pawsd' ;;
	*) check "$file: rules for iptables" has_rules "$file" '^-A FORWARD -p tcp .*-j PAWSD' ;;
	esac
	name=${file#"$EXAMPLES/"}
	check "$file: pawsd.conf(5) names it" grep -qF "Pa ${name%/*}" man/pawsd.conf.5.in
done
# What --check would not accept it would not accept in an example either.
sed 's/^mode = rewrite/mode = rewind/' $EXAMPLES/home-lab.conf >"$DIR/wrong.conf"
check "a wrong one would be found" sh -c '! "$1" --check "$2"' sh "$PAWSD" "$DIR/wrong.conf"
check "make install has them all" sh -c 'make -n install DESTDIR=/nowhere BUILD="$1" | grep -q "cp -R conf/examples"' sh "$BUILD"

# ---- what keepalived calls ----

if command -v shellcheck >/dev/null; then
	check "pawsd-vrrp: shellcheck" shellcheck $EXAMPLES/pair/pawsd-vrrp
else
	skip "pawsd-vrrp: shellcheck" "no shellcheck here"
fi
# differ_only_in REGEX
differ_only_in() { ! diff $EXAMPLES/pair/keepalived-a.conf $EXAMPLES/pair/keepalived-b.conf | sed -n 's/^[<>]//p' | grep -vE "$1"; }
check "keepalived's two files differ in name and priority alone" differ_only_in 'gateway [AB]\.|router_id|priority'

mkdir "$DIR/bin"
for command in logger systemctl; do
	printf '#!/bin/sh\necho "%s $*" >>"%s/log"\n' $command "$DIR" >"$DIR/bin/$command"
done
# A pawsd whose clock is so far ahead.
printf '#!/bin/sh\n[ -e "%s/ahead" ] && echo "{ \\"tick\\": $(($(date +%%s%%3N) + $(cat "%s/ahead"))), \\"tsval\\": 7 }"\n' "$DIR" "$DIR" \
	>"$DIR/bin/pawsctl"
chmod +x "$DIR/bin"/*

# vrrp PATIENCE STATE: as keepalived calls it.
vrrp() {
	sed "s,^PATH=,&$DIR/bin:,; s,^dir=.*,dir=$DIR/vrrp,; s,^patience_s=.*,patience_s=$1," $EXAMPLES/pair/pawsd-vrrp >"$DIR/vrrp$1"
	sh "$DIR/vrrp$1" INSTANCE gateway "$2" 100
}
logged() { grep -q "$1" "$DIR/log" || { cat "$DIR/log"; return 1; }; }
forget() { : >"$DIR/log"; }
restarted() { logged '^systemctl restart pawsd$'; }

echo 3 >"$DIR/ahead"
forget
check "BACKUP at the start: nothing to forget" vrrp 0 BACKUP
check "BACKUP at the start: pawsd is left alone" [ ! -s "$DIR/log" ]
check "MASTER: taken" vrrp 0 MASTER
check "MASTER: pawsd is started, if it is not" logged '^systemctl start pawsd$'
check "MASTER: the clock is as it should be" logged 'daemon.info.* differs by [-0-9]* ms'
echo 5000 >"$DIR/ahead"
forget
check "MASTER, the clock ahead: taken" vrrp 0 MASTER
check "MASTER, the clock ahead: a warning" logged 'daemon.warning.* clock is [45][0-9]* ms ahead'
rm "$DIR/ahead"
forget
check "MASTER without pawsd: taken" vrrp 0 MASTER
check "MASTER without pawsd: an error" logged 'daemon.err.*does not answer'
forget
check "BACKUP for long: taken" vrrp 0 BACKUP
check "BACKUP for long: pawsd forgets its flows" restarted
forget
check "BACKUP again: taken" vrrp 0 BACKUP
check "BACKUP again: once is enough" [ ! -s "$DIR/log" ]
vrrp 0 MASTER
forget
vrrp 1 BACKUP &
for _ in $(seq 500); do
	! grep -q BACKUP "$DIR/vrrp/state" || break
	sleep 0.01
done
vrrp 0 MASTER
wait
check "BACKUP and at once MASTER: pawsd is left alone" sh -c '! grep restart "$1"' sh "$DIR/log"
check "BACKUP and at once MASTER: a later BACKUP counts" vrrp 0 FAULT
check "BACKUP and at once MASTER: pawsd forgets its flows" restarted

DONE=yes
echo "1..$COUNT"
[ "$FAILED" = 0 ]
