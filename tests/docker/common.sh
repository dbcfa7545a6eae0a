# shellcheck shell=bash
# What the stories in this directory have in common: a project of Compose of their own, how they look at its containers,
# how they count, and how they leave nothing behind. Sourced by each of them, in the directory of docker-compose.yml.
#
# PG_MAJOR=17 has a compute of PostgreSQL 17. VARVE_TEST_TLS=1 has the parts speak TLS (docker/tls.yml). KEEP=1 leaves containers and volumes for a look. The images stay in any case;
# BUILD=no takes those that are there.
set -uo pipefail
# shellcheck source=tests/docker/ledger.sh
. tests/docker/ledger.sh

export COMPOSE_PROJECT_NAME=varve-test
export VARVE_ADDRESS=127.0.0.1 VARVE_PORT=${VARVE_PORT:-55499}
export POSTGRES_USER=app POSTGRES_PASSWORD=first-secret POSTGRES_DB=shop
export PG_MAJOR=${PG_MAJOR:-15}
if [ "${VARVE_TEST_TLS:-}" = 1 ]; then export COMPOSE_FILE=docker-compose.yml:docker/tls.yml; fi
export LC_ALL=C

compute_image=varve-compute:$PG_MAJOR
# What Compose does not know of: made by `run` and `docker run`.
branch=$COMPOSE_PROJECT_NAME-dev
export=$COMPOSE_PROJECT_NAME-export
storage="storage_broker safekeeper1 safekeeper2 safekeeper3 pageserver"
passed=0
failed=0
complete=no
work=$(mktemp -d)

step() { printf '\n[%3d s] %s\n' "$SECONDS" "$*"; }
pass() { passed=$((passed + 1)) && printf '  ok    %s\n' "$*"; }
fail() {
    failed=$((failed + 1)) && printf '  FAIL  %s\n' "$*"
    if [ $failed = 1 ] && type compose > /dev/null 2>&1; then compose logs --no-color --tail 50 > "$work/first-failure.log" 2>&1; fi
}
# check WHAT COMMAND...
check() { if "${@:2}"; then pass "$1"; else fail "$1"; fi; }
# give_up WHY: what follows would make no sense.
give_up() { fail "$*" && exit 1; }

clean_up() {
    docker rm --force --volumes "$branch" > /dev/null 2>&1
    docker volume rm "$branch" "$export" > /dev/null 2>&1
    # What has a profile goes only with that.
    COMPOSE_PROFILES=${COMPOSE_PROFILES:+$COMPOSE_PROFILES,}replica compose down --volumes --remove-orphans > /dev/null 2>&1
}

finish() {
    stop_writers
    [ $complete = yes ] || [ $failed -gt 0 ] || fail "the test did not come to its end"
    if type compose > /dev/null 2>&1; then
        if [ "${KEEP:-}" != 1 ]; then clean_up; fi
    fi
    if [ -s "$work/first-failure.log" ]; then
        echo && echo "when the first check failed, the containers had said:"
        cut -c 1-240 "$work/first-failure.log"
    fi
    rm -rf "$work"
    printf '\n%d passed, %d failed\n' $passed $failed
    exit $((failed > 0))
}
trap finish EXIT
trap 'exit 1' INT TERM

# --- what it takes ------------------------------------------------------------------------------------------

command -v psql > /dev/null || give_up "psql is missing: the test talks to the cluster from outside, as a user does"
command -v docker > /dev/null || give_up "Docker is missing: nothing can be tested without it"
docker info > /dev/null 2>&1 || give_up "the Docker daemon does not answer: $(docker info 2>&1 | tail -n 1)"
if docker compose version > /dev/null 2>&1; then
    compose() { docker compose "$@"; }
elif command -v docker-compose > /dev/null; then
    compose() { docker-compose "$@"; }
else
    give_up "Docker Compose is missing"
fi

# have_base_images IMAGES-OF-COMPOSE ARGUMENT...: base images that can be had nowhere are made here, with what
# docker/make-base-images is told besides.
have_base_images() {
    local image
    for image in $1; do
        if docker image inspect "$image" > /dev/null 2>&1 || docker pull --quiet "$image" > /dev/null 2>&1; then continue; fi
        echo "  $image cannot be had: making base images here"
        docker/make-base-images "${@:2}" > "$work/base-images" || give_up "no base images"
        set -o allexport
        # shellcheck source=/dev/null
        . "$work/base-images"
        set +o allexport
        return
    done
}
# default_images NAME: what docker-compose.yml takes if the variables whose names begin so say nothing.
default_images() { sed -n "s/.*\($1\)_IMAGE:-\(.*\)}/\2/p" docker-compose.yml; }

build() {
    [ "${BUILD:-}" != no ] || return 0
    compose build > "$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" && give_up "the images do not build"; }
}

# --- how a story looks at containers ------------------------------------------------------------------------

container() {
    docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
        --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False
}
inspect() { docker inspect --format "$2" "$(container "$1")"; }
is_running() { [ "$(inspect "$1" '{{.State.Running}}')" = true ]; }
is_healthy() { [ "$(inspect "$1" '{{.State.Health.Status}}')" = healthy ]; }
has_restarted() { [ "$(inspect "$1" '{{.RestartCount}}')" -gt 0 ] && is_running "$1"; }
exit_status() { inspect "$1" '{{.State.ExitCode}}'; }
inside() { docker exec "$(container "$1")" "${@:2}"; }
in_cluster() { inside storage_broker "$@"; }
# says SERVICE WORDS: in its log.
says() { docker logs "$(container "$1")" 2>&1 | grep -q "$2"; }
answers() { [ "$(sql 'SELECT 1')" = 1 ]; }
# is_refused PASSWORD
is_refused() {
    : > "$work/psql.log"
    ! POSTGRES_PASSWORD=$1 sql 'SELECT 1' && grep -q 'password authentication failed' "$work/psql.log"
}
# until_true SECONDS COMMAND...
until_true() {
    local deadline=$((SECONDS + $1))
    until "${@:2}"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.2
    done
}
# cut_off SERVICE / join SERVICE: from the network of storage, with all its connections.
cut_off() { docker network disconnect "${COMPOSE_PROJECT_NAME}_storage" "$(container "$1")"; }
join() { docker network connect --alias "$1" "${COMPOSE_PROJECT_NAME}_storage" "$(container "$1")"; }
