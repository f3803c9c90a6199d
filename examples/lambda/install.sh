#!/usr/bin/env bash
# Installs the programs and the data of this example: Debian packages, by name. Ends quietly where all is there.
set -euo pipefail

examples=/usr/share/doc/bowtie2/examples
data=("$examples/reference/lambda_virus.fa.gz" "$examples/reads/reads_1.fq.gz" "$examples/reads/reads_2.fq.gz")

missing_packages() {
    command -v bowtie2 >/dev/null && command -v bowtie2-build >/dev/null || echo bowtie2
    command -v samtools >/dev/null || echo samtools
    command -v bcftools >/dev/null || echo bcftools
    data_is_there || echo bowtie2-examples
}

data_is_there() {
    local file
    for file in "${data[@]}"; do
        [ -s "$file" ] || return 1
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "install.sh: this needs root or sudo: $*" >&2
        return 1
    fi
}

mapfile -t packages < <(missing_packages)
if [ "${#packages[@]}" -gt 0 ]; then
    echo "installing ${packages[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

# Slim images tell dpkg to leave /usr/share/doc out, and the data are there: unpack the package without asking dpkg.
if ! data_is_there; then
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    (cd "$unpacked" && apt-get download -qq bowtie2-examples && dpkg-deb --extract bowtie2-examples_*.deb tree)
    as_root mkdir -p "$examples"
    as_root cp -r "$unpacked/tree$examples/." "$examples/"
fi

data_is_there || { echo "install.sh: the package bowtie2-examples holds no ${data[*]}" >&2; exit 1; }
echo "bowtie2, samtools, bcftools and the reads of phage lambda are installed"
