#!/bin/sh
# Runs the tests of bin/shelf; exit code 1 if one fails.
cd "$(dirname "$0")/.." || exit 1
failed=0

expect() { # NAME, WANTED, FOUND
    if [ "$2" = "$3" ]; then
        echo "ok    $1"
    else
        echo "FAIL  $1: wanted \"$2\", found \"$3\""
        failed=$((failed + 1))
    fi
}

expect "the first page begins with the first book" "The Left Hand of Darkness" "$(sh bin/shelf 1 2>&1 | head -n 1)"
expect "the size of a page can be chosen" "-- page 2 of 2" "$(sh bin/shelf 2 5 2>&1 | tail -n 1)"
expect "the last page holds the rest" "The Master and Margarita" "$(sh bin/shelf 3 2>&1 | head -n 1)"
expect "there is no page after the last" "1" "$(sh bin/shelf 4 > /dev/null 2>&1; echo $?)"

echo "$failed failed"
[ "$failed" -eq 0 ]
