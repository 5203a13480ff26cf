# Three images: `bot` talks to Telegram, `web` serves HTTP, and neither has PyTorch; `worker` captions. See
# docs/operations.md.
#
#   docker build --target bot -t image-caption-bot .
#   docker build --target web -t image-caption-web .
#   docker build --target worker -t image-caption-worker --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#   docker build --target worker -t image-caption-worker:cuda .

ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS base
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    DATA_DIR=/data \
    HOME=/tmp
WORKDIR /app
# Libraries write their caches to HOME, the program writes to DATA_DIR. The rest may be read-only.
RUN useradd --system --user-group --uid 10001 --no-create-home --home-dir /tmp captions \
 && install --directory --owner=captions --group=captions --mode=700 /data
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 CMD ["python", "start.py", "health"]
ENTRYPOINT ["python", "start.py"]


FROM base AS bot
COPY requirements-bot.txt requirements-voice.txt requirements-sentry.txt ./
# --build-arg VOICE=1: voice messages, with an engine under the GPL.
ARG VOICE=0
# --build-arg SENTRY=1: reports of errors, where SENTRY_DSN is set.
ARG SENTRY=0
RUN pip install -r requirements-bot.txt \
 && if [ "$VOICE" = 1 ]; then pip install -r requirements-voice.txt; fi \
 && if [ "$SENTRY" = 1 ]; then pip install -r requirements-sentry.txt; fi
COPY start.py ./
COPY bot bot
COPY handlers handlers
COPY model model
COPY docs/answer.jpg docs/answer.ru.jpg docs/
RUN python -m compileall -q start.py bot handlers model && chmod -R a+rX start.py bot handlers model docs
USER captions
CMD ["bot"]


FROM base AS web
COPY requirements-bot.txt requirements-web.txt ./
RUN pip install -r requirements-web.txt
COPY start.py ./
COPY bot bot
COPY model model
COPY web web
RUN python -m compileall -q start.py bot model web && chmod -R a+rX start.py bot model web
USER captions
CMD ["web"]


FROM base AS worker
COPY requirements.txt requirements-bot.txt requirements-edit.txt requirements-cpu.txt ./
# PyPI's torch includes CUDA (5 GB); the one of https://download.pytorch.org/whl/cpu does not.
ARG TORCH_INDEX=https://pypi.org/simple
# --build-arg EDIT=1: edits of photos, where EDIT_MODEL names a model.
ARG EDIT=0
# --build-arg INT8=1: the encoder in int8, on CPUs where that is faster.
ARG INT8=0
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch[<>=~!]' requirements.txt)" \
 && pip install -r requirements.txt \
 && if [ "$EDIT" = 1 ]; then pip install -r requirements-edit.txt; fi \
 && if [ "$INT8" = 1 ]; then pip install -r requirements-cpu.txt; fi \
 && python -c 'import av, torch'
COPY --chown=captions:captions weights weights
COPY start.py ./
COPY bot bot
COPY handlers handlers
COPY model model
RUN python -m compileall -q start.py bot handlers model && chmod -R a+rX start.py bot handlers model
USER captions
CMD ["worker"]
