# Named checks for scripts that run in the guest; prints TAP lines, which the tests on the host turn into assertions.
# Source it:  . /udrbd/conformance/vm/guest/checks.sh
checks_run=0 checks_failed=0
# The limits are meant for an idle host with two processors; any other one may take this many times as long.
PATIENCE=3

# check NAME COMMAND [ARGS...]: passes when the command (or shell function) succeeds within CHECK_SECONDS (60) times PATIENCE.
# It runs in a subshell; what it prints is shown when it fails, the time that it took when it passes.
check() {
  local name=$1 limit=$((${CHECK_SECONDS:-60} * PATIENCE)) output=/run/check.$checks_run began=$SECONDS status
  shift
  checks_run=$((checks_run + 1))
  ( "$@" ) > $output 2>&1 < /dev/null & local work=$!
  ( sleep $limit; echo "# no end after $limit s" >> $output; kill -9 $work ) 2> /dev/null & local alarm=$!
  wait $work 2> /dev/null; status=$?
  kill -9 $alarm 2> /dev/null; wait $alarm 2> /dev/null
  if [ $status = 0 ]; then
    echo "ok $checks_run - $name"
    echo "# $((SECONDS - began)) s"
  else
    checks_failed=$((checks_failed + 1))
    echo "not ok $checks_run - $name"
    { tail -n 40 $output; echo "exit status $status"; } | sed 's/^/# /'
  fi
  return $status
}

# skip NAME REASON: a check that cannot be made here.
skip() {
  checks_run=$((checks_run + 1))
  echo "ok $checks_run - $1 # SKIP $2"
}

# until_true SECONDS COMMAND...: repeats the command until it succeeds, for SECONDS times PATIENCE.
until_true() {
  local deadline=$(($(date +%s) + $1 * PATIENCE))
  shift
  until "$@" > /dev/null 2>&1; do
    [ $(date +%s) -lt $deadline ] || { echo "never true: $*"; return 1; }
    sleep 0.1
  done
}

# equal WANTED GOT: says both when they differ.
equal() { [ "$1" = "$2" ] || { echo "wanted: $1"; echo "got:    $2"; return 1; }; }

# The last line of a script of checks.
checks_end() {
  echo "1..$checks_run"
  [ $checks_failed = 0 ]
  exit
}
