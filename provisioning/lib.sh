# Shared by provisioning/demo and tests/run: words to the person, Debian packages, the unprivileged user, a private Postgres.
# Source it; it runs nothing by itself.

POSTGRES_VERSION=15
POSTGRES_BIN=/usr/lib/postgresql/$POSTGRES_VERSION/bin

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
step() { printf '  %s\n' "$*"; }
fail() {
    printf '\nStopped: %s\n' "$*" >&2
    exit 1
}

# need_tools: what no Debian package of this script's choosing brings.
need_tools() {
    local tool
    for tool in cargo node npm; do
        command -v "$tool" >/dev/null || fail "$tool is missing. Install Rust from rustup.rs and Node 20 or newer, then run this again."
    done
    local major
    major=$(node -p 'process.versions.node.split(".")[0]')
    [ "$major" -ge 20 ] || fail "Node $major is too old: 20 or newer is needed."
}

# need_packages PACKAGE…: installs what is missing, as root or through sudo.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "these Debian packages are missing: ${missing[*]}. Install them as root, then run this again."
        as_root=(sudo)
    fi
    step "installing Debian packages: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq || fail "apt-get update did not work; check the machine's network and package sources."
    if printf '%s\n' "${missing[@]}" | grep -q '^postgresql-[0-9]'; then
        # Debian would start a server of its own; we bring up a private one.
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql-common >/dev/null
        "${as_root[@]}" sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "could not install: ${missing[*]}. Run apt-get install by hand to see why."
}

# service_user: prints the account that Postgres and the services run as; root gives them one of their own.
service_user() {
    if [ "$(id -u)" -ne 0 ]; then
        id -un
        return
    fi
    id hadada-demo >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin hadada-demo
    echo hadada-demo
}

# exec_as USER COMMAND…: this very process becomes COMMAND, so that a signal to it reaches COMMAND.
exec_as() {
    local user=$1
    shift
    [ "$(id -un)" != "$user" ] || exec "$@"
    HOME=/nonexistent exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups -- "$@"
}

# as_user USER COMMAND…
as_user() { (exec_as "$@"); }

# cluster_create DIR USER SOCKETS [SETTING…]: a private cluster that listens on a Unix socket only and maps USER and whoever
# runs this to the roles by peer authentication.
cluster_create() {
    local dir=$1 user=$2 sockets=$3
    shift 3
    as_user "$user" "$POSTGRES_BIN/initdb" -D "$dir" -U postgres --auth=peer --locale=C.UTF-8 --encoding=UTF8 --data-checksums >/dev/null ||
        fail "Postgres could not make its data folder $dir."
    local role account
    {
        echo 'local all all peer map=hadada'
        echo 'local replication hadada_backup peer map=hadada'
    } >"$dir/pg_hba.conf"
    for account in "$user" "$(id -un)"; do
        for role in postgres hadada_owner hadada_app hadada_backup hadada_sender; do
            echo "hadada $account $role"
        done
    done | sort -u >"$dir/pg_ident.conf"
    {
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$sockets'"
        echo "unix_socket_permissions = 0700"
        echo "max_connections = 200"
        echo "log_min_duration_statement = 500"
        printf '%s\n' "$@"
    } >>"$dir/postgresql.conf"
    # Whoever runs this (root) may use the socket too.
    [ "$(id -un)" = "$user" ] || chown "$user" "$dir/pg_hba.conf" "$dir/pg_ident.conf" "$dir/postgresql.conf"
}

# cluster_start DIR USER LOG
cluster_start() {
    as_user "$2" "$POSTGRES_BIN/pg_ctl" -D "$1" -l "$3" -w -t 30 start >/dev/null || fail "Postgres did not start; its log is $3."
}

# cluster_stop DIR USER
cluster_stop() {
    as_user "$2" "$POSTGRES_BIN/pg_ctl" -D "$1" -m fast -w stop >/dev/null 2>&1 || true
}

# psql_as ROLE SOCKETS DATABASE ARGUMENT…
psql_as() {
    local role=$1 sockets=$2 database=$3
    shift 3
    "$POSTGRES_BIN/psql" -X -q -v ON_ERROR_STOP=1 -h "$sockets" -U "$role" -d "$database" "$@"
}

# build_assets: the browser's files, only when something they are made of changed.
build_assets() {
    local dist=appliance/src/web/assets/dist/manifest.json
    if [ ! -d node_modules ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
        step "installing the browser's libraries (npm ci)"
        npm ci --no-audit --no-fund --loglevel=error || fail "npm ci did not work; its words are above."
    fi
    if [ ! -f "$dist" ] || [ -n "$(find package.json appliance/src -newer "$dist" \( -name '*.html' -o -path '*/assets/*' \) -not -path '*/dist/*' -print -quit)" ]; then
        step "building the browser's files (npm run build)"
        npm run --silent build >/dev/null || fail "npm run build did not work; run it by hand to see why."
    fi
}

# target_dir: where cargo puts programs.
target_dir() { echo "${CARGO_TARGET_DIR:-$PWD/target}"; }
