# One image for every command: serve (the default), worker, migrate, keys, simulator, doctor.
#
#   docker build -t kie-gateway .
#   docker run --env-file gateway.env -p 8000:8000 kie-gateway
#
# Pin the base by its digest for builds that repeat, and name your own mirror or base in the same way:
#   docker build --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:… -t kie-gateway .
#
# Everything downloaded is a wheel whose hash stands in a lock file. `make image-check` carries these
# steps out without an engine; it knows the instructions used here and refuses any other.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The tools stay in this stage, in an environment of their own: a distribution lets nobody write into
# its Python. They fill the other one, which has no pip of its own.
COPY requirements-build.lock ./
RUN python3 -m venv /opt/tools \
 && /opt/tools/bin/python -m pip install --require-hashes --only-binary=:all: -r requirements-build.lock

# The dependencies first: this layer stays while only the code changes.
COPY requirements.lock ./
RUN python3 -m venv --without-pip /opt/kie-gateway \
 && /opt/tools/bin/python -m pip --python /opt/kie-gateway/bin/python install --no-compile \
      --require-hashes --only-binary=:all: -r requirements.lock

COPY pyproject.toml README.md ./
COPY migrations migrations
COPY app app
COPY simulator simulator
COPY clients/python/kie_gateway_client clients/python/kie_gateway_client
RUN /opt/tools/bin/python -m hatchling build -t wheel -d /dist \
 && /opt/tools/bin/python -m pip --python /opt/kie-gateway/bin/python install --no-compile --no-deps --no-index \
      /dist/*.whl

# Packages bring tests of their own, which nobody runs here. What is left is compiled once: on a
# read-only root nothing could be later. Hashes, unchecked, because layers may change timestamps.
RUN find /opt/kie-gateway/lib -depth -type d \( -name tests -o -name test \) -exec rm -r {} + \
 && /opt/kie-gateway/bin/python -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /opt/kie-gateway/lib


FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kie-gateway" \
      org.opencontainers.image.description="A self-hosted gateway between your services and kie.ai" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

COPY --from=build /opt/kie-gateway /opt/kie-gateway
ENV PATH=/opt/kie-gateway/bin:${PATH}

# The build fails here if the program cannot start. It also leaves bytecode of what it uses of the
# standard library, which the base image has none of: a third of every command's start (measured).
RUN kie-gateway --help && python -c "import app.cli.application, app.main, httpcore, rich.console"
ENV PYTHONDONTWRITEBYTECODE=1

# A number, so that Kubernetes can see that it is not root. Nothing is written anywhere, so that the
# root filesystem may be read-only. There is no embedded PostgreSQL: set GATEWAY_DATABASE_URL.
USER 10001:10001
WORKDIR /

# serve, worker; where GATEWAY_LISTEN and GATEWAY_WORKER_LISTEN say otherwise, there.
EXPOSE 8000 8001
STOPSIGNAL SIGTERM

# Asks `serve`; docs/deploying.md has what to give for `worker`. Kubernetes has probes of its own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; port = (os.environ.get('GATEWAY_LISTEN') or ':8000').rpartition(':')[2]; probe = http.client.HTTPConnection('localhost', int(port), timeout=4); probe.request('GET', '/livez'); sys.exit(probe.getresponse().status != 200)"]

ENTRYPOINT ["kie-gateway"]
CMD ["serve"]
