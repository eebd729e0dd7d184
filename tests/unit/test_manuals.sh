#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The manuals say what the programs have, and nothing else: options, commands and their options. (Reasons, metrics, states,
# options of the configuration, findings and kinds of events get into them from the tables that the programs are made of.)
set -euo pipefail
BUILD=${1:-build}
COUNT=0 FAILED=0

check() {
	local name=$1
	shift
	COUNT=$((COUNT + 1))
	if "$@"; then
		echo "ok $COUNT - $name"
	else
		echo "not ok $COUNT - $name"
		FAILED=$((FAILED + 1))
	fi
}

# same WHAT-THE-PROGRAM-HAS WHAT-THE-MANUAL-HAS
same() {
	[ -n "$1" ] && diff <(sort -u <<<"$1") <(sort -u <<<"$2") | sed 's/^/# /' && [ "$(sort -u <<<"$1")" = "$(sort -u <<<"$2")" ]
}

# Long options in a text for people, and in a page: those that have an item of their own.
options_in() { grep -oE -- '--[a-z][a-z-]+' || true; }
items_of() { grep -E '^\.It .*Fl' "$1" | grep -oE -- '(Fl|,) -[a-z][a-z-]+' | sed 's/.* -/--/'; }

# The part of pawsctl's page about a command: from its item to the next one of a command or the next section.
page_of() {
	awk -v command="$1" '
		/^\.Ss|^\.Sh/ { inside = 0 }
		/^\.It Cm [a-z]/ { inside = $3 == command }
		inside' "$BUILD/man/pawsctl.8"
}

for program in pawsd pawsd-exporter; do
	check "$program: the options in its manual" same "$("$BUILD/$program" --help | options_in)" \
		"$(items_of "$BUILD/man/$program.8" | options_in)"
done

commands=$("$BUILD/pawsctl" --help | sed -nE 's/^  ([a-z]+) .*/\1/p')
check "pawsctl: the commands in its manual" same "$commands" \
	"$(sed -n '/^\.Ss Commands/,/^\.Ss Options/p' "$BUILD/man/pawsctl.8" | sed -nE 's/^\.It Cm ([a-z]+).*/\1/p')"
for command in $commands; do
	own=$("$BUILD/pawsctl" "$command" --help | options_in | grep -vxE -- '--(json|socket|help)' || true)
	page_of "$command" >"$BUILD/page.$$"
	check "pawsctl $command: the options in its manual" same "none$own" "none$(items_of "$BUILD/page.$$")"
	rm -f "$BUILD/page.$$"
done
echo "1..$COUNT"
[ $FAILED = 0 ]
