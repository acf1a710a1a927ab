#!/bin/sh
# A task's whole life by hand. Needs curl and a running server; prints every step.
set -eu

url="${SWARMHOLD_URL:-http://127.0.0.1:7777}"
key="${SWARMHOLD_KEY:-$(cat "${SWARMHOLD_DATA_DIR:-data}/root.key")}"

# call METHOD PATH CREDENTIAL [BODY]: the credential goes by standard input, so that no list of processes shows it.
call() {
    printf 'header = "Authorization: Bearer %s"\n' "$3" | curl --silent --show-error --fail-with-body --config - \
        --request "$1" "$url$2" ${4:+--header "Content-Type: application/json" --data "$4"}
}
# field NAME: the text of a field of the JSON on standard input.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

echo "1. Attach as an operator with the API key: the session's token is what everything else takes."
token="$(call POST /v1/operator/sessions "$key" '{"operator_id": "curl", "ttl": 3600}' | field token)"
[ -n "$token" ] || exit 1

echo "2. Start a task. It is pending: nobody works on it yet."
task="$(call POST /v1/operator/tasks "$token" '{"agent": "greeter", "initial_directive": "Say hello to the world."}' \
    | sed 's/.*"id":"\(T-[^"]*\)".*/\1/')"
echo "   ${task:?}"

echo "3. Dispatch an attempt. With the spawner 'external' nothing is started: we get the worker's handle."
handle="$(call POST "/v1/operator/tasks/$task/dispatch" "$token" '{"spawner": {"kind": "external"}}' | field worker_handle)"

echo "4. Be the worker: the handle opens the prompt of this attempt, and nothing else."
call GET /v1/worker/prompt "$handle"
echo

echo "5. Say how it is going, then submit the result. The first final result ends the attempt."
call POST /v1/worker/output "$handle" '{"type": "progress", "stage": "thinking"}'
call POST /v1/worker/submit "$handle" '{"greeting": "Hello, world!"}'

echo "6. Wait for the task: the reply comes as soon as it is settled."
call GET "/v1/operator/tasks/$task/poll?hold=10" "$token"
echo

echo "7. What happened, from the durable feed (it would go on for ever: two seconds are enough here)."
printf 'header = "Authorization: Bearer %s"\n' "$token" | curl --silent --no-buffer --max-time 2 --config - \
    "$url/v1/operator/events?after=0&task=$task" || [ $? -eq 28 ]

echo "8. The handle is spent now: this is a conflict that says so."
call GET /v1/worker/prompt "$handle" || echo " (as it should be)"
