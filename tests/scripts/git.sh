# A repository made, filled, looked at and packed.
set -e
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org
export GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@example.org
git init -q -b trunk repository
cd repository
i=1
while [ $i -le 12 ]; do
    seq 1 $((i * 50)) >"file$((i % 4))"
    git add .
    GIT_AUTHOR_DATE="2024-01-$((i + 10)) 12:00:00 +0000" \
        GIT_COMMITTER_DATE="2024-01-$((i + 10)) 12:00:00 +0000" git commit -q -m "change $i"
    i=$((i + 1))
done
git log --stat | tail -n 20
git diff HEAD~3 --shortstat
git branch side HEAD~2
git branch -a
git gc -q
git fsck
git count-objects -v | grep -v size
git rev-parse HEAD
