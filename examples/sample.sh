#!/bin/sh
# Serve the sample site on loopback, and crawl it with a collector and two download workers.
set -eu
cd "$(dirname "$0")/.."
state=$(mktemp -d)
server=
workers=
finish() { for process in $server $workers; do kill "$process" 2>/dev/null || true; done; rm -rf "$state"; }
trap finish EXIT
trap 'exit 130' INT TERM

python examples/serve.py --port 0 >"$state/site" &
server=$!
while ! grep -qs http "$state/site"; do sleep 0.1; done
site=$(sed -n 's/^Serving //p' "$state/site")

rm -rf .sample
echo "The sample site is at $site; its images go to .sample/"
for worker in 1 2; do
    python -m crawler.download --server 127.0.0.1:8011 --state "$state" --processes 1 --quiet &
    workers="$workers $!"
done
python -m crawler.collect --site "$site" --listen 127.0.0.1:8011 --state "$state" --output .sample --job sample \
    --allow-net 127.0.0.1/32
wait $workers
