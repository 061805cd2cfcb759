#!/usr/bin/env bash
# A team's store: MLflow over PostgreSQL, one grid from two process groups. `make test-postgres`.
# Nothing becomes root unasked: INSTALL=1 installs the package; the server then runs unprivileged.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON_BIN:-.venv/bin/python}

find_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }
bin=$(find_bin)
if [[ -z $bin ]]; then
  if [[ "${INSTALL:-0}" != 1 ]]; then
    echo "PostgreSQL is not here. As root: apt-get install postgresql, or: make test-postgres INSTALL=1"
    exit 77
  fi
  [[ $(id -u) == 0 ]] || { echo "Expected root with INSTALL=1, got user $(id -un)."; exit 77; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
  bin=$(find_bin)
fi
"$python" -c "import psycopg" || { echo "pip install 'fl_platform[postgres]'"; exit 77; }

work=$(mktemp -d /tmp/fl-postgres.XXXXXX)
chmod 755 "$work"
mkdir "$work/db" "$work/home" "$work/artifacts"
as=()
if [[ $(id -u) == 0 ]]; then
  chown postgres "$work/db"
  as=(runuser -u postgres --)
fi
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
web=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
server=
cleanup() {
  [[ -n $server ]] && kill -- "-$server" 2>/dev/null
  "${as[@]}" "$bin/pg_ctl" -D "$work/db/data" -m immediate -w stop >/dev/null 2>&1 || true
  [[ "${KEEP:-0}" == 1 ]] || rm -rf "$work"
}
trap cleanup EXIT
(cd "$work/db" && "${as[@]}" "$bin/initdb" -D "$work/db/data" -U fl --auth=trust >/dev/null)
"${as[@]}" "$bin/pg_ctl" -D "$work/db/data" -w -l "$work/db/log" \
  -o "-h 127.0.0.1 -p $port -k $work/db" start >/dev/null
"${as[@]}" "$bin/createdb" -h 127.0.0.1 -p "$port" -U fl mlflow

export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
setsid "$python" -m mlflow server --host 127.0.0.1 --port "$web" --workers 1 \
  --backend-store-uri "postgresql+psycopg://fl@127.0.0.1:$port/mlflow" \
  --artifacts-destination "$work/artifacts" > "$work/server.log" 2>&1 &
server=$!
up() { "$python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$web/health', timeout=2)" 2>/dev/null; }
for _ in $(seq 90); do up && break; sleep 1; done
up || { tail "$work/server.log"; echo "The MLflow server did not come up."; exit 1; }

export MLFLOW_TRACKING_URI=http://127.0.0.1:$web MLFLOW_HTTP_REQUEST_TIMEOUT=60
ln -s "$PWD/conf" "$work/home/conf"
grid=(-m fl_platform.cli grid task=digits rounds=2 task.clients=10 attack=none,lie,ipm
      defense=mean,median seed=0 --home "$work/home" --jobs 1 --no-report --json)
setsid "$python" "${grid[@]}" > "$work/a.json" 2> "$work/a.log" & a=$!
setsid "$python" "${grid[@]}" > "$work/b.json" 2> "$work/b.log" & b=$!
wait "$a" || { cat "$work/a.log"; exit 1; }
wait "$b" || { cat "$work/b.log"; exit 1; }
"$python" -m fl_platform.cli runs sync --home "$work/home"
"$python" - "$work" <<'PY'
import json, os, sys
from collections import Counter
from pathlib import Path

from mlflow.tracking.client import MlflowClient

work = Path(sys.argv[1])
told = [json.loads((work / f"{name}.json").read_text().splitlines()[-1]) for name in "ab"]
assert [(t["cells"], t["done"], t["failed"]) for t in told] == [(6, 6, 0)] * 2, told
starts = [p.read_text().count('"status":"RUNNING"') for p in work.glob("home/mlruns/runs/*/journal.jsonl")]
assert starts == [1] * 7, f"a cell was begun more than once: {starts}"
client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
runs = client.search_runs([client.get_experiment_by_name("grid").experiment_id])
parents = Counter(run.data.tags.get("mlflow.parentRunId", "none") for run in runs)
assert len(runs) == 7 and sorted(parents.values()) == [1, 6], parents
assert {run.info.status for run in runs} == {"FINISHED"}, [run.info.status for run in runs]
print("PostgreSQL: 6 cells and their parent from two process groups, none doubled: passed")
PY
