#!/usr/bin/env bash
# One iadr1 training run on the machines of a SLURM job, one torchrun for each machine. Not run by us.
#
#   sbatch --nodes 2 --gres gpu:4 examples/slurm_train.sh anomalyr1-roam-3b --out /shared/runs/roam
#   STAGE=sft sbatch --nodes 1 --gres gpu:4 examples/slurm_train.sh iadr1-pa-sft-qwen2.5-vl-3b --out /shared/runs/sft
#
# Data, model and --out lie where all machines see them. A job that is requeued goes on from its last whole checkpoint.
#SBATCH --job-name=iadr1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

stage="${STAGE:-train}"
cards="${SLURM_GPUS_ON_NODE:?no GPUs in this job: add --gres gpu:N}"
first="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
# Two jobs that share a machine must not meet at one port.
port=$((20000 + SLURM_JOB_ID % 20000))

# The compute machines of many clusters have no network: fetch the model beforehand, on the login machine.
export HF_HUB_OFFLINE="${HF_HUB_OFFLINE:-1}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((SLURM_CPUS_PER_TASK / cards > 0 ? SLURM_CPUS_PER_TASK / cards : 1))}"

srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc-per-node "$cards" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$first:$port" \
    --rdzv-id "$SLURM_JOB_ID" \
    -m iadr1 "$stage" "$@"
