#!/bin/sh
# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Loads the keys that a table names, each from the first of its files that the kernel takes. One that is there is left alone.
# A line of the table: type keyring description permissions timeout options files, with tabs between them, "-" for nothing, "," between
# several.
set -uf

# The number of the keyring at the end of a path such as @u/app/cache. What is missing of it is made.
keyring() {
    ring=${1%%/*}
    rest=${1#"$ring"}
    while [ -n "$rest" ]; do
        rest=${rest#/}
        name=${rest%%/*}
        rest=${rest#"$name"}
        below=$(keyctl search "$ring" keyring "$name" 2>/dev/null) || below=$(keyctl newring "$name" "$ring") || return 1
        ring=$below
    done
    echo "$ring"
}

# load TYPE DESCRIPTION OPTIONS FILE KEYRING. The payload goes by standard input.
load() {
    case $1 in
        user | logon) keyctl padd "$1" "$2" "$5" <"$4" ;;
        *)
            {
                printf 'load '
                tr -d '\n' <"$4"
                [ "$3" = - ] || printf ' %s' "$3" | tr , ' '
            } | keyctl padd "$1" "$2" "$5"
            ;;
    esac
}

keyctl link @u @s 2>/dev/null # a master in @u is found, and what is loaded can be given permissions
failed=0
tab=$(printf '\t')
while IFS=$tab read -r type path description permissions timeout options files; do
    case $type in '' | '#'*) continue ;; esac
    if ! at=$(keyring "$path"); then
        echo "$type:$description: the keyring $path cannot be made" >&2
        failed=1
        continue
    fi
    keyctl search "$at" "$type" "$description" >/dev/null 2>&1 && continue
    id=
    IFS=,
    for file in $files; do
        id=$(load "$type" "$description" "$options" "$file" "$at") && break
        echo "$type:$description: the kernel does not take $file" >&2
        id=
    done
    unset IFS
    if [ -z "$id" ]; then
        failed=1
        continue
    fi
    [ "$timeout" = - ] || keyctl timeout "$id" "$timeout" || failed=1
    [ "$permissions" = - ] || keyctl setperm "$id" "0x${permissions#0x}" || failed=1
done <"$1"
exit "$failed"
