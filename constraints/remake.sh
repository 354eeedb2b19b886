#!/bin/sh
# Remake the sets of tested versions: `make constraints`.
#
# One set for each environment of the Makefile, the same versions on Python 3.11, 3.12 and 3.13.
# What runs models is chosen first, newest releases, and the tools around it have to fit.
# oldest/ has the lowest versions that pyproject.toml allows, for Python 3.11 on Linux.
set -eu
torch=$1
here=constraints
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() {
    "$UV" pip compile --quiet --no-header --no-annotate --python-version 3.11 "$@"
}

extras() {
    for extra in "$@"; do printf ' --extra %s' "$extra"; done
}

# remake NAME EXTRA...: with $more, requirements of tests alone
remake() {
    name=$1
    shift
    echo "$here/$name.txt, $here/oldest/$name.txt"
    : > "$work/wished"
    case $name in torch | cluster) echo "$torch" > "$work/wished" ;; esac
    printf '%s\n' ${more-} | compile --universal --fork-strategy fewest \
        --constraint "$work/wished" $(extras "$@") --output-file "$work/first" pyproject.toml -
    printf '%s\n' 'setuptools>=77' ${more-} | compile --universal --fork-strategy fewest \
        --constraint "$work/first" $(extras "$@" examples dev) --output-file "$work/newest" pyproject.toml -
    echo 'setuptools>=77' | compile --resolution lowest-direct \
        $(extras "$@" examples dev) --output-file "$work/oldest" pyproject.toml -
    mv "$work/newest" "$here/$name.txt"
    mv "$work/oldest" "$here/oldest/$name.txt"
    rm "$work/first"
}

mkdir -p "$here/oldest"
remake tensorflow tensorflow-cpu docs
remake jax jax
remake torch torch
remake legacy tensorflow-cpu legacy
more='ray[train] torch' remake cluster ray dask tensorflow-cpu
