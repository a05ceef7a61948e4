# Shell, awk, sort, checksums and gzip of busybox: loops, pipes, redirections, here documents.
set -e
i=0
while [ $i -lt 50 ]; do
    echo "line $i $((i * 7919 % 101)) $((i * i % 13))"
    i=$((i + 1))
done >numbers
wc numbers
sort -k3n -k2nr numbers | head -n 5
awk '{ sum[$4] += $3; n++ } END { for (k = 0; k < 13; k++) printf "%d:%d ", k, sum[k]; print n }' numbers
sed -n 's/line \([0-9]*\) \(.*\)/\2 <- \1/p' numbers | tail -n 3
grep -c '1.*2' numbers || true
cut -d' ' -f3 numbers | sort -n | uniq -c | sort -rn | head -n 3
sha256sum <numbers
md5sum <numbers
gzip -9 -c numbers >numbers.gz
gunzip -c numbers.gz | cmp - numbers && echo same
tar -cf all.tar numbers numbers.gz
tar -tf all.tar
for word in alpha beta gamma; do
    case $word in
    a*) echo "$word begins with a" ;;
    *mm*) echo "$word has mm" ;;
    *) echo "$word is other" ;;
    esac
done
cat <<END | tr a-z A-Z | rev
here is a document
of two lines
END
( cd / && pwd; exit 3 ) || echo "subshell: $?"
x=$(echo one | { read -r y; echo "$y two"; })
echo "$x"
seq 1 1000 | xargs -n 100 echo | wc -l
find . -name 'numbers*' | sort
dd if=/dev/zero bs=1k count=16 2>/dev/null | od -An -tx1 | head -n 2
expr 6 \* 7
printf '%05d|%-6s|%x\n' 42 left 255
