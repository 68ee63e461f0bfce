#!/usr/bin/env bash
# Makes what the compose file must not contain, once: S3 credentials, users and their
# passwords, the keys that sign summaries and the ledger, and a key for CI. What is there
# stays as it is. Arguments are then run as a command, to look at the result.
set -euo pipefail

dir=${SECRETS_DIR:-/secrets}
umask 077
mkdir -p "$dir"/{server,s3,client}

# once FILE COMMAND... writes a command's output to FILE unless it exists. It appears
# whole or not at all, so that an interrupted start is simply done again.
once() {
	local file=$dir/$1
	shift
	if [ ! -e "$file" ]; then
		"$@" >"$file.new"
		mv "$file.new" "$file"
	fi
}

private_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256; }

once s3/access-key openssl rand -hex 10
once s3/secret-key openssl rand -hex 32

# Two replicas must sign with the same keys, each of a use of its own. Every client of logs
# checks Ed25519.
for use in stable release; do
	once "server/$use.key" private_key
done
once server/ledger.key openssl genpkey -algorithm ED25519
once client/ci.key private_key
once server/ci.pub openssl pkey -in "$dir/client/ci.key" -pubout

passwords() {
	local user
	for user in ci manager deploy admin; do
		echo "$user $(openssl rand -hex 16)"
	done
}
users() {
	local user password
	while read -r user password; do
		htpasswd -niB "$user" <<<"$password" | grep .
	done <"$dir/client/passwords"
}
once client/passwords passwords
once server/users users

# The server runs as a user without a name; it reads these and nobody else does.
if [ "$(id -u)" = 0 ]; then
	chown -R 65532:65532 "$dir/server" "$dir/s3"
fi

if [ $# -gt 0 ]; then
	exec "$@"
fi
