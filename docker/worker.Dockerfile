# A validation worker. It knows the hub's address, a worker token and its queue, and nothing else: no database, no bucket.
#   CPU:   docker build -f docker/worker.Dockerfile .
#   CUDA:  docker build -f docker/worker.Dockerfile --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY hub hub
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --index-url "${TORCH_INDEX}" torch==2.13.0 \
 && /venv/bin/pip install --no-cache-dir -c constraints.txt '.[worker]'

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home hub && mkdir -p /scratch /bases && chown hub /scratch
COPY --from=build /venv /venv
WORKDIR /app
COPY workers workers
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 HUB_SCRATCH=/scratch HUB_BASES=/bases
USER 10001
CMD ["celery", "-A", "workers.celery", "worker", "--pool", "solo", "--queues", "runs", "--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel", "INFO"]
