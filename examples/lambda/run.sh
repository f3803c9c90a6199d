#!/usr/bin/env bash
# Runs the lambda workflow to its variants.
#   run.sh [-o DIR] [--ask]                              with `barycenter run`, no server
#   run.sh [-o DIR] [--ask] --server URL --api-key KEY   on a server that was started with --tool-dir examples/lambda/tools
# The key may also stand in BARYCENTER_API_KEY. Without --ask the alignment statistics are approved unseen.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
results=lambda-results
server=
key=${BARYCENTER_API_KEY:-}
ask=false

usage() { sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}"; }

while [ $# -gt 0 ]; do
    case $1 in
        -o | --server | --api-key)
            [ $# -ge 2 ] || { echo "run.sh: $1 needs a value" >&2; exit 2; }
            case $1 in
                -o) results=$2 ;;
                --server) server=${2%/} ;;
                --api-key) key=$2 ;;
            esac
            shift 2
            ;;
        --ask) ask=true; shift ;;
        -h | --help) usage; exit 0 ;;
        *) echo "run.sh: unknown argument $1" >&2; usage >&2; exit 2 ;;
    esac
done

for program in bowtie2 samtools bcftools; do
    command -v "$program" >/dev/null || { echo "run.sh: $program is missing; run $here/install.sh first" >&2; exit 1; }
done
mkdir -p "$results"

if [ -z "$server" ]; then
    run=("${BARYCENTER:-}")
    if [ -z "${run[0]}" ]; then
        if command -v barycenter >/dev/null; then
            run=(barycenter)
        else
            (cd "$root" && cargo build)
            run=("${CARGO_TARGET_DIR:-$root/target}/debug/barycenter")
        fi
    fi
    flags=(--yes)
    "$ask" && flags=()
    "${run[@]}" run "$here/lambda.ga" --inputs "$here/jobs.yml" --tool-dir "$here/tools" -o "$results" "${flags[@]}"
else
    [ -n "$key" ] || { echo "run.sh: --server needs --api-key KEY or BARYCENTER_API_KEY" >&2; exit 2; }
    python3 "$here/submit.py" "$server" "$key" "$results" "$ask"
fi
echo "results are in $results"
