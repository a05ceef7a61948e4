# Features of bash that lean on the kernel: traps, subshells, job control, pipes, processes.
set -u

section() { printf '== %s\n' "$1"; }

section 'arithmetic and strings'
declare -i total=0
for ((i = 1; i <= 100; i++)); do
    total+=i*i
done
echo "$total" $((total % 97)) $((1 << 40)) $((-7 / 2)) $((-7 % 3))
text='The quick brown fox'
echo "${text#The }" "${text%fox}" "${text/quick/slow}" "${text^^}" "${#text}" "${text:4:5}"
printf '%s|%5d|%-5s|%05.2f|%x|%q\n' string 42 ab 3.14159 255 'a b'

section 'arrays'
list=(one two three four five)
unset 'list[1]'
echo "${list[@]}" "${!list[@]}" "${#list[@]}"
declare -A ages=([ann]=31 [bob]=27 [cy]=45)
for name in $(printf '%s\n' "${!ages[@]}" | sort); do
    echo "$name ${ages[$name]}"
done
mapfile -t lines < <(printf 'a\nb\nc\n')
echo "${#lines[@]} ${lines[2]}"

section 'functions and recursion'
factorial() {
    local n=$1
    ((n <= 1)) && echo 1 && return
    echo $((n * $(factorial $((n - 1)))))
}
factorial 10
hanoi() {
    local n=$1 from=$2 to=$3 by=$4
    ((n == 0)) && return
    hanoi $((n - 1)) "$from" "$by" "$to"
    ((moves++))
    hanoi $((n - 1)) "$by" "$to" "$from"
}
moves=0
hanoi 7 a b c
echo "$moves moves"

section 'pattern matching'
for word in 2024-01-31 hello 12ab; do
    if [[ $word =~ ^([0-9]{4})-([0-9]{2})-([0-9]{2})$ ]]; then
        echo "date ${BASH_REMATCH[1]}/${BASH_REMATCH[2]}"
    elif [[ $word == [a-z]* ]]; then
        echo "word $word"
    else
        echo "other $word"
    fi
done

section 'pipes and exit statuses'
printf '%s\n' pear apple fig | sort | tr a-z A-Z | paste -sd, -
true | false | true
echo "${PIPESTATUS[@]}"
(exit 7)
echo "status $?"
set -o pipefail
false | cat
echo "pipefail $?"
set +o pipefail

section 'redirections'
{
    echo to stdout
    echo to stderr >&2
} >both 2>&1
cat both
exec 3>third
echo third >&3
exec 3>&-
cat third
cat <<'END'
no $expansion here
END
cat <<<"a here string"
read -r first rest <<<"split these words"
echo "$first/$rest"
: >empty
[[ -f empty && ! -s empty ]] && echo 'empty file'

section 'subshells'
value=outer
(
    value=inner
    echo "$value"
)
echo "$value"
echo "$(echo nested "$(echo substitution "$(echo thrice)")")"
diff <(printf '1\n2\n3\n') <(printf '1\n2\n4\n')
echo "diff $?"

section 'background jobs'
for n in 1 2 3; do
    (
        sleep "0.$n"
        exit $((n * 10))
    ) &
    jobs_started[n]=$!
done
for n in 1 2 3; do
    wait "${jobs_started[n]}"
    echo "job $n ended with $?"
done
wait
sleep 5 &
sleeper=$!
kill -TERM $sleeper
wait $sleeper 2>/dev/null
echo "killed: $?"

section 'traps'
trap 'echo "got USR1"' USR1
kill -USR1 $$
trap 'count=$((count + 1))' USR2
count=0
for n in 1 2 3 4 5; do
    kill -USR2 $$
done
echo "count $count"
(
    trap 'echo "leaving with $?"' EXIT
    exit 4
)
echo "left with $?"
bash -c 'trap "" TERM; kill -TERM $$; echo survived'
{ bash -c 'kill -KILL $$'; } 2>/dev/null
echo "dead: $?"
(
    trap 'echo interrupted wait; exit 9' ALRM
    parent=$BASHPID
    (
        sleep 0.3
        kill -ALRM "$parent"
    ) &
    sleep 3 &
    wait $!
) 2>/dev/null
echo "after wait: $?"

section 'job control'
set -m
sleep 0.2 &
first_job=$!
kill -STOP $first_job
sleep 0.1
jobs -s | sed 's/  */ /g' | cut -d' ' -f2-
kill -CONT $first_job
# `wait` may still report that the job is stopped.
while kill -0 $first_job 2>/dev/null; do
    wait $first_job
done
echo 'continued and ended'
set +m

section 'named pipes and coprocesses'
mkfifo fifo
(for n in 1 2 3; do echo "message $n"; done >fifo) &
while read -r line; do
    echo "read: $line"
done <fifo
wait
coproc DOUBLE { while read -r n; do echo $((n * 2)); done; }
for n in 3 5 8; do
    echo "$n" >&"${DOUBLE[1]}"
    read -r doubled <&"${DOUBLE[0]}"
    echo "doubled $doubled"
done
exec {DOUBLE[1]}>&-
wait

section 'other programs'
ls -d / /usr | sort
env -i A=1 B=2 sh -c 'echo $A$B'
printf '#!/bin/sh\necho "script $0 with $#: $*"\n' >script
chmod +x script
./script a 'b c'
echo "${PATH:+path is set}"
command -v nosuchprogram || echo 'no such program'
./nosuchfile 2>/dev/null
echo "127 is $?"
touch notexecutable
./notexecutable 2>/dev/null
echo "126 is $?"
seq 1 20000 | while read -r n; do
    ((n % 5000 == 0)) && echo "$n"
done
ulimit -n >/dev/null && echo 'limits can be read'
exit 5
