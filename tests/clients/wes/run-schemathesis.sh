#!/bin/sh
# Holds the official WES 1.1.0 document against a running server: every operation, every check, no failure.
#
#   BARYCENTER_URL=http://127.0.0.1:8080 BARYCENTER_KEY=… tests/clients/wes/run-schemathesis.sh [DOCUMENT]
#
# DOCUMENT is the file or URL of the document; without one it is the official one of GA4GH. `schemathesis` is taken from
# PATH, or from the virtual environment that SCHEMATHESIS_VENV names.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
official=https://raw.githubusercontent.com/ga4gh/workflow-execution-service-schemas/1.1.0/openapi/workflow_execution_service.openapi.yaml
document=${1:-${BARYCENTER_WES_DOCUMENT:-$official}}
case $document in
    http*) ;;
    *) document=$(cd "$(dirname "$document")" && pwd)/$(basename "$document") ;;
esac
program=schemathesis
if [ -n "${SCHEMATHESIS_VENV:-}" ]; then
    program=$SCHEMATHESIS_VENV/bin/schemathesis
fi
# What it remembers between runs goes with the directory.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
PYTHONPATH=$here "$program" --config-file "$here/schemathesis.toml" run "$document" \
    --url "$BARYCENTER_URL/ga4gh/wes/v1" -H "Authorization: Bearer $BARYCENTER_KEY" \
    --max-examples "${SCHEMATHESIS_EXAMPLES:-50}" --no-color
