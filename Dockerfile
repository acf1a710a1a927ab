# Both stages are built from this image. `make pin-image` replaces the digest by that which the tag has today.
ARG PYTHON_IMAGE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
# The dependencies change rarely and are a layer of their own; every file is verified by its digest.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/swarmhold \
    && /opt/swarmhold/bin/pip install --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml LICENSE README.md ./
COPY app ./app
COPY clients ./clients
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /src/dist . \
    && /opt/swarmhold/bin/pip install --no-deps --no-index /src/dist/*.whl \
    && /opt/swarmhold/bin/pip uninstall -y pip

FROM ${PYTHON_IMAGE}
RUN groupadd --system --gid 10001 swarmhold \
    && useradd --system --uid 10001 --gid swarmhold --no-create-home --home-dir /data --shell /usr/sbin/nologin swarmhold \
    && install -d -o swarmhold -g swarmhold -m 700 /data
COPY --from=build /opt/swarmhold /opt/swarmhold
ENV PATH=/opt/swarmhold/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SWARMHOLD_HOST=0.0.0.0 \
    SWARMHOLD_PORT=7777 \
    SWARMHOLD_DATA_DIR=/data \
    SWARMHOLD_LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 7777
# A stop takes SWARMHOLD_SHUTDOWN_GRACE at most, 8 seconds by default: less than the 10 that `docker stop` waits.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['SWARMHOLD_PORT'] + '/readyz', timeout=4)"]
ENTRYPOINT ["swarmhold"]
CMD ["serve"]
