#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds OVMF's IntelTdxX64 in the hermetic root: build.sh SOURCES WORK OUT JOBS
# README.md says why each option is what it is. Nothing here may depend on where it runs or when.
set -euo pipefail
src=$1 work=$2 out=$3 jobs=$4

cp -R "$src/edk2" "$work/edk2"
chmod -R u+w "$work/edk2"
cd "$work/edk2"

# Debian's series first (security fixes), then ours; no fuzz, so a patch that no longer fits is seen.
while read -r patch; do
    case $patch in '' | '#'*) continue ;; esac
    patch --batch --silent -p1 <"debian/patches/$patch"
done <debian/patches/series
for patch in "$src"/firmware/patches/*.patch; do
    patch --batch --silent --binary --fuzz=0 -p1 <"$patch"
done

export PYTHON_COMMAND=/usr/bin/python3
# edk2 picks one of 100 random cookies for each module by Python's randomised hash. No code uses them (the stack
# protector is off in this toolchain), but what is compiled shall be equal as well.
export PYTHONHASHSEED=0
build_dir=Build/IntelTdx/RELEASE_GCC
mkdir -p "$build_dir"
for bits in 32 64; do echo '[0]' >"$build_dir/StackCookieValues$bits.json"; done

make -C BaseTools -j"$jobs"
# edksetup.sh reads this script's arguments and unset variables.
set -- && set +u
. ./edksetup.sh
set -u
build --platform OvmfPkg/IntelTdx/IntelTdxX64.dsc --arch X64 --tagname GCC --buildtarget RELEASE -n "$jobs" \
    -D SECURE_BOOT_ENABLE=FALSE \
    -D BUILD_SHELL=FALSE \
    -D FD_SIZE_4MB

cp "$build_dir/FV/OVMF.fd" "$out/firmware.fd"
