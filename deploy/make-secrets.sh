#!/bin/sh
# Makes the passwords of docker-compose.yml that do not exist yet, readable by you alone. Put the exchange's
# key and secret beside them, one line each: deploy/secrets/exchange_api_key and exchange_secret.
set -eu
umask 077
cd "$(dirname "$0")/secrets"
for name in postgres_password agent_password executor_password monitor_password redis_password flower_password; do
    [ -s "$name" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$name"
done
