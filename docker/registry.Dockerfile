# The registry: web, relay, registry jobs. No torch. The command decides which of the three runs (docker/compose.yaml).
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE manage.py ./
COPY hub hub
COPY registry registry
COPY templates templates
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir -c constraints.txt '.[registry]' \
 && /venv/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation -w /client .

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home hub && mkdir -p /data && chown hub /data
COPY --from=build /venv /venv
COPY --from=build /client /client
WORKDIR /app
COPY manage.py ./
COPY hub hub
COPY registry registry
COPY templates templates
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HUB_CLIENT_WHEELS=/client
USER hub
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["gunicorn", "registry.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--worker-tmp-dir", "/dev/shm"]
