# shellcheck shell=bash disable=SC2154
# The ledger: what was tried and what was acknowledged, in files beside the database. Sourced by `run`, which
# sets `work`. Every number is written once by one writer, in a connection of its own, into a table without
# any constraint, so that a row that came twice is seen as twice.

writers=4

# sql STATEMENT: one connection as the user; fails unless the statement was acknowledged.
sql() {
    PGPASSWORD=$POSTGRES_PASSWORD PGCONNECT_TIMEOUT=5 timeout 120 psql --no-psqlrc --quiet --tuples-only --no-align \
        --set ON_ERROR_STOP=1 --host "$VARVE_ADDRESS" --port "$VARVE_PORT" --username "$POSTGRES_USER" \
        --dbname "$POSTGRES_DB" --command "$1" 2>> "$work/psql.log"
}

writer() {
    local number=$1
    until [ -e "$work/stop" ]; do
        # Noted before it is sent: from here on it may be there.
        echo "$number" >> "$work/tried.$1"
        if sql "INSERT INTO ledger VALUES ($number)"; then
            echo "$number" >> "$work/acknowledged.$1"
        else
            sleep 0.1
        fi
        number=$((number + writers))
    done
}

start_writers() {
    local first
    rm -f "$work/stop"
    first=$(($(cat "$work"/tried.* 2>/dev/null | sort -n | tail -n 1) + 1))
    for ((n = 0; n < writers; n++)); do writer $((first + n)) & done
}

stop_writers() {
    touch "$work/stop"
    wait
}

acknowledged() { cat "$work"/acknowledged.* 2>/dev/null | wc -l; }

has_acknowledged() { [ "$(acknowledged)" -ge "$1" ]; }

# goes_on MORE: so many more commits, within three minutes: the machine may be busy.
goes_on() { until_true 180 has_acknowledged $(($(acknowledged) + $1)); }

# Holds what was acknowledged before the question against what the database answers, while writers go on.
ledger_is_right() {
    local lost twice invented
    cat "$work"/acknowledged.* | sort -u > "$work/promised"
    sql "SELECT number FROM ledger" | sort > "$work/found" || return 1
    cat "$work"/tried.* | sort -u > "$work/known"
    lost=$(comm -23 "$work/promised" <(sort -u "$work/found") | wc -l)
    twice=$(uniq --repeated "$work/found" | wc -l)
    invented=$(comm -13 "$work/known" <(sort -u "$work/found") | wc -l)
    printf '        %d acknowledged, %d found: %d lost, %d twice, %d invented\n' \
        "$(wc -l < "$work/promised")" "$(wc -l < "$work/found")" "$lost" "$twice" "$invented"
    [ "$lost" -eq 0 ] && [ "$twice" -eq 0 ] && [ "$invented" -eq 0 ]
}
