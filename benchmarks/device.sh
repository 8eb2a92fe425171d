#!/usr/bin/env bash
# Train on a lent machine for some minutes and leave state, log and weights in $OUT, in files below 16 MB:
#   bash benchmarks/device.sh crnet-a 8 [--trainer.max_steps=...]
# It goes on from data/training/NAME, if that is there. What it needs is packed by benchmarks/carry.py.
set -euo pipefail
name=$1 minutes=$2
shift 2
for wheel in .carry/wheels/*.whl; do  # those that the machine lacks; it may refuse to change those that it has
    python -m pip install --quiet --no-index --no-deps "$wheel" || echo "not installed: $wheel"
done
mkdir -p "$OUT/$name"
if [ -d "data/training/$name" ]; then cp -r "data/training/$name/." "$OUT/$name/"; fi
python -m learned.cli fit "configs/$name.yaml" --resume --run="$OUT/$name" \
    --data.sources='[.carry/sr/train291]' --data.validation=.carry/sr/Set5 \
    --minutes="$minutes" --trainer.enable_progress_bar=false "$@"
python -m learned.cli split "$OUT/$name/last.ckpt"
rm "$OUT/$name/last.ckpt"
tail -n 3 "$OUT/$name"/log/version_*/metrics.csv
