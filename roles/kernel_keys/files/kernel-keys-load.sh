#!/bin/sh
# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Usage: kernel-keys-load TABLE
# Loads the keys that a table names, each from the first of its files that the kernel takes. One that is there is left alone.
# A line of the table: type keyring description permissions timeout options files policies, with tabs between them, "-" for nothing, ","
# between several. A policy is that of a file: hash:bank:PCRs with "+" between them. The line of a keyring has no description, and the
# keyrings that it is linked into, with blanks between them, for options. The line "evm" has the kernel start EVM with evm-key when all
# are there.
set -uf

# member KEYRING TYPE DESCRIPTION: the number of the key that hangs in the keyring itself, which a search finds before one further down.
member() {
    found=$(keyctl search "$1" "$2" "$3" 2>/dev/null) || return 1
    held=$(keyctl rlist "$1" 2>/dev/null) || held=$found # one that may be searched and not read
    case " $held " in *" $found "*) echo "$found" ;; *) return 1 ;; esac
}

# The number of the keyring at the end of a path such as @u/app/cache. What is missing of it is made.
keyring() {
    ring=${1%%/*}
    rest=${1#"$ring"}
    while [ -n "$rest" ]; do
        rest=${rest#/}
        name=${rest%%/*}
        rest=${rest#"$name"}
        below=$(member "$ring" keyring "$name") || below=$(keyctl newring "$name" "$ring") || return 1
        ring=$below
    done
    echo "$ring"
}

# have_keyring PATH PERMISSIONS TIMEOUT LINKS. The time of one that is there runs on.
have_keyring() {
    expires=$3
    case $1 in
        */*)
            above=$(keyring "${1%/*}") || return 1
            member "$above" keyring "${1##*/}" >/dev/null && expires=-
            ;;
    esac
    it=$(keyring "$1") || return 1
    [ "$expires" = - ] || keyctl timeout "$it" "$expires" || return 1
    if [ "$4" != - ]; then
        for link in $4; do
            into=$(keyring "$link") && keyctl link "$it" "$into" || return 1
        done
    fi
    [ "$2" = - ] || keyctl setperm "$it" "0x${2#0x}"
}

# Whether the TPM is of version 1.2, which looks at the PCRs of a blob by itself.
is_tpm12() {
    [ -e /sys/class/tpm/tpm0/caps ] || [ -e /sys/class/tpm/tpm0/device/caps ]
}

# ask CODE BODY: one command without authorisations to the TPM 2.0 on descriptor 3, in hexadecimal; the body of the answer in $answer.
ask() {
    text=8001$(printf '%08x' $((10 + ${#2} / 2)))$1$2
    bytes=
    while [ -n "$text" ]; do
        left=${text#??}
        bytes="$bytes\\$(printf '%03o' "0x${text%"$left"}")"
        text=$left
    done
    # The TPM takes a command by one write; a shell's own printf may write each line by itself. dd gathers what comes until the end.
    # shellcheck disable=SC2059 # the bytes are the format
    printf "$bytes" | dd obs=4096 2>/dev/null >&3
    answer=$(dd bs=4096 count=1 <&3 2>/dev/null | od -An -v -tx1 | tr -d ' \n')
    case $answer in
        ????????????00000000*) answer=${answer#????????????????????} ;;
        *) return 1 ;;
    esac
}

algorithm() {
    case $1 in sha1) echo 0004 ;; sha256) echo 000b ;; sha384) echo 000c ;; sha512) echo 000d ;; esac
}

# start_session POLICY: a session of the TPM that holds as long as the PCRs do; its handle in $session.
start_session() {
    hash=${1%%:*}
    pcrs=${1#*:}
    bank=${pcrs%%:*}
    pcrs=${pcrs#*:}+
    low=0 middle=0 high=0
    while [ -n "$pcrs" ]; do
        pcr=${pcrs%%+*}
        pcrs=${pcrs#*+}
        if [ "$pcr" -lt 8 ]; then
            low=$((low | 1 << pcr))
        elif [ "$pcr" -lt 16 ]; then
            middle=$((middle | 1 << (pcr - 8)))
        else
            high=$((high | 1 << (pcr - 16)))
        fi
    done
    # StartAuthSession without a key, an object, a cipher; then PolicyPCR
    nonce=00000000000000000000000000000000
    ask 00000176 "40000007400000070010${nonce}0000010010$(algorithm "$hash")" || return 1
    session=${answer%"${answer#????????}"}
    ask 0000017f "${session}000000000001$(algorithm "$bank")03$(printf '%02x%02x%02x' "$low" "$middle" "$high")" && return
    ask 00000165 "$session"
    return 1
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

# load_by_policy TYPE DESCRIPTION OPTIONS FILE KEYRING POLICY: the kernel meets a session only where /dev/tpm0 is open.
load_by_policy() {
    if [ "$6" = - ] || is_tpm12; then
        load "$1" "$2" "$3" "$4" "$5"
        return
    fi
    options=policyhandle=0x
    [ "$3" = - ] || options=$3,$options
    {
        start_session "$6" || return 1
        load "$1" "$2" "$options$session" "$4" "$5"
        loaded=$?
        ask 00000165 "$session" # FlushContext
        return $loaded
    } 3<>/dev/tpm0
}

# load_modules: what brings the types, where it is not built in. That of trusted keys, which comes with the other, looks for a TPM once,
# when it is loaded: one that the firmware tells of is waited for.
load_modules() {
    [ -z "$modules_loaded" ] || return 0
    modules_loaded=yes
    if [ $needs_tpm = yes ] && [ -e /sys/firmware/acpi/tables/TPM2 ]; then
        tries=0
        while [ ! -d /sys/class/tpm/tpm0 ] && [ $tries -lt 100 ]; do
            sleep 0.1 # until the driver is there
            tries=$((tries + 1))
        done
    fi
    modprobe -q -a trusted encrypted-keys
}

# start_evm: for good, until the next boot.
start_evm() {
    evm=/sys/kernel/security/evm
    if [ -e $evm ]; then
        [ $(($(cat $evm) & 1)) = 1 ] || echo 1 >$evm
        return
    fi
    mount -t securityfs securityfs /sys/kernel/security || return 1
    started=no
    echo 1 >$evm && started=yes
    umount /sys/kernel/security
    [ $started = yes ]
}

keyctl link @u @s 2>/dev/null # a master in @u is found, and what is loaded can be given permissions
needs_tpm=no
grep -q ^trusted "$1" && needs_tpm=yes
failed=0
modules_loaded=
with_evm=no
tab=$(printf '\t')
while IFS=$tab read -r type path description permissions timeout options files policies; do
    case $type in
        '' | '#'*) continue ;;
        evm)
            with_evm=yes
            continue
            ;;
        keyring)
            have_keyring "$path" "$permissions" "$timeout" "$options" && continue
            echo "the keyring $path cannot be made as it should be" >&2
            failed=1
            continue
            ;;
        trusted | encrypted) load_modules ;;
    esac
    if ! at=$(keyring "$path"); then
        echo "$type:$description: the keyring $path cannot be made" >&2
        failed=1
        continue
    fi
    member "$at" "$type" "$description" >/dev/null && continue
    id=
    while [ -n "$files" ]; do
        file=${files%%,*}
        policy=${policies%%,*}
        id=$(load_by_policy "$type" "$description" "$options" "$file" "$at" "$policy") && break
        echo "$type:$description: the kernel does not take $file" >&2
        id=
        case $files in *,*) files=${files#*,} policies=${policies#*,} ;; *) files= ;; esac
    done
    if [ -z "$id" ]; then
        failed=1
        continue
    fi
    [ "$timeout" = - ] || keyctl timeout "$id" "$timeout" || failed=1
    [ "$permissions" = - ] || keyctl setperm "$id" "0x${permissions#0x}" || failed=1
done <"$1"
if [ $with_evm = yes ] && [ $failed = 0 ]; then
    start_evm || failed=1
fi
exit "$failed"
