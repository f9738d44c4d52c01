# The image of the assistant: embedded (`run`, what it does when told nothing) and every role of a
# cluster (`worker --role ...`). Two stages on one base: what compiles stays behind in the first.
#
#   docker build -t ai-assistant:latest .
#
# Pinned: the base by its dated tag (or BASE=debian@sha256:... for good), what is shipped by version
# and hash in deploy/image/requirements.txt, what builds it by version in deploy/image/build.txt.
# `make lock` renews both from the versions that the tests ran with, `make image-check` carries
# these steps out where no container engine runs.
ARG BASE=debian:bookworm-20250520-slim

FROM ${BASE} AS builder
ENV DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    SOURCE_DATE_EPOCH=1735689600 XDG_CACHE_HOME=/build/cache
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
       ca-certificates cmake g++ ninja-build python3 python3-venv
WORKDIR /build
COPY deploy/image/build.txt deploy/image/build.txt
RUN python3 -m venv tools && tools/bin/pip install --quiet --no-deps -r deploy/image/build.txt
COPY deploy/install/llama_wheel.py deploy/install/llama_wheel.py
RUN PIP_CONSTRAINT=/build/deploy/image/build.txt tools/bin/python deploy/install/llama_wheel.py
COPY deploy/image/requirements.txt deploy/image/requirements.txt
RUN python3 -m venv /opt/ai-assistant \
    && /opt/ai-assistant/bin/pip install --quiet --no-compile --no-deps --require-hashes \
       -r deploy/image/requirements.txt
COPY . .
RUN tools/bin/python -m build --wheel --no-isolation --outdir dist . \
    && /opt/ai-assistant/bin/pip install --quiet --no-compile --no-deps \
       dist/*.whl cache/ai-assistant/wheels/*/*.whl \
    && /opt/ai-assistant/bin/pip check
# Left out: what only developers of these packages need, and the copies that the llama.cpp wheel
# brings of its own libraries. Nothing is stripped: numpy's libraries would not load any more. Byte
# code is made here, since nothing can be written where it runs; with hashes instead of times, or
# each build would be another.
RUN cd /opt/ai-assistant/lib/python3.11/site-packages \
    && /opt/ai-assistant/bin/pip uninstall --quiet --yes setuptools \
    && rm -rf lib include bin numpy/_core/include numpy/f2py \
    && find . -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} + \
    && for lib in llama_cpp/lib/*.so; do rm $lib.0.*; ln -sf ${lib##*/} $lib.0; done \
    && /opt/ai-assistant/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash .

FROM ${BASE} AS runtime
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get upgrade --yes \
    && apt-get install --yes --no-install-recommends ca-certificates libgomp1 python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*.log \
       /var/log/apt /var/cache/ldconfig/aux-cache
RUN groupadd --gid 10001 assistant \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin \
       assistant \
    && install -d /etc/ai-config /var/lib/ai-models \
    && install -d -m 0700 -o 10001 -g 10001 /var/lib/ai-assistant
COPY --from=builder /opt/ai-assistant /opt/ai-assistant
# A settings directory and a data directory of its own; reached from outside the container, where
# the pages of operators and the metrics still want the operators' token.
ENV PATH=/opt/ai-assistant/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/ \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    AI_ASSISTANT_CONFIG=/etc/ai-config AI_ASSISTANT_DATA=/var/lib/ai-assistant \
    AI_ASSISTANT_SERVER__BIND=0.0.0.0:8080
WORKDIR /var/lib/ai-assistant
USER 10001:10001
EXPOSE 8080
# Each role answers there; 503 counts as not healthy.
HEALTHCHECK --interval=5s --timeout=4s --start-period=600s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/readyz', timeout=3)"]
# tini: the engine's own children are taken in when it dies, also where nobody asked for --init.
ENTRYPOINT ["tini", "--", "ai-assistant"]
CMD ["run"]
