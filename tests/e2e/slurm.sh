#!/usr/bin/env bash
# A grid over a real SLURM of one node: started here, used, stopped. `make test-slurm`.
# Nothing becomes root unasked: INSTALL=1 installs the packages and starts the daemons as root.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON_BIN:-.venv/bin/python}
packages="slurm-wlm munge"

missing() { ! command -v sbatch >/dev/null || ! command -v munged >/dev/null; }
if [[ "${INSTALL:-0}" != 1 ]]; then
  missing && echo "SLURM is not here. As root: apt-get install $packages"
  echo "This test starts munged, slurmctld and slurmd as root: make test-slurm INSTALL=1"
  exit 77
fi
[[ $(id -u) == 0 ]] || { echo "Expected root with INSTALL=1, got user $(id -un)."; exit 77; }
if missing; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi
"$python" -c "import submitit" || { echo "pip install 'fl_platform[slurm]'"; exit 77; }

work=$(mktemp -d /tmp/fl-slurm.XXXXXX)
chmod 755 "$work"
mkdir -p "$work"/{state,spool} /run/munge /var/log/munge /var/lib/munge /etc/munge
host=$(hostname -s)
own_key=0
if [[ ! -s /etc/munge/munge.key ]]; then
  own_key=1
  (umask 077 && head -c 1024 /dev/urandom > /etc/munge/munge.key)
fi
chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
chmod 0400 /etc/munge/munge.key
chmod 0755 /run/munge
export SLURM_CONF=$work/slurm.conf
cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

started=()
cleanup() {
  scancel --full --user=root 2>/dev/null || true
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  [[ $own_key == 1 ]] && rm -f /etc/munge/munge.key
  [[ "${KEEP:-0}" == 1 ]] || rm -rf "$work"
}
trap cleanup EXIT
if ! munge -n </dev/null >/dev/null 2>&1; then
  runuser -u munge -- munged --foreground >/dev/null 2>&1 & started+=($!)
  for _ in $(seq 50); do munge -n </dev/null >/dev/null 2>&1 && break; sleep 0.2; done
fi
slurmctld -D -f "$SLURM_CONF" >/dev/null 2>&1 & started+=($!)
slurmd -D -f "$SLURM_CONF" >/dev/null 2>&1 & started+=($!)
for _ in $(seq 100); do sinfo -h -o %t 2>/dev/null | grep -qx idle && break; sleep 0.3; done
sinfo

home=$work/home
mkdir -p "$home"
ln -s "$PWD/conf" "$home/conf"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=1
grid=(-m fl_platform.cli grid task=digits rounds=2 task.clients=10 attack=none,lie defense=mean,median
      seed=0 --home "$home" --executor slurm --cells 2 --jobs 2 --slurm partition=main --no-report --json)
"$python" "${grid[@]}" | tee "$work/first.json"
"$python" "${grid[@]}" | tail -n 1 > "$work/second.json"
"$python" - "$work/first.json" "$work/second.json" "$home" <<'PY'
import json, sys
from pathlib import Path

first, second = (json.loads(Path(p).read_text().splitlines()[-1]) for p in sys.argv[1:3])
assert (first["cells"], first["done"], first["failed"]) == (4, 4, 0), first
assert first["results"] == second["results"], "the same command found other results"
runs = Path(sys.argv[3]) / "mlruns" / "runs"
submitted = list(runs.glob("*/jobs/*_submitted.pkl"))
assert len(submitted) == 2, f"expected one array of two tasks, got {submitted}"
print("SLURM: 4 cells by an array of 2 tasks, none missing, none run twice: passed")
PY
