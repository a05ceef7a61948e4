# Digests and ciphers of openssl, forwards and back.
set -e
seq 1 200000 >input
for digest in sha256 sha512 sha1 md5 sha3-256 blake2b512; do
    openssl dgst -$digest <input
done
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
iv=0f0e0d0c0b0a09080706050403020100
for cipher in aes-256-cbc aes-256-ctr chacha20; do
    openssl enc -$cipher -K $key -iv $iv -in input -out secret
    openssl dgst -sha256 <secret
    openssl enc -d -$cipher -K $key -iv $iv -in secret | cmp - input && echo "$cipher: same"
done
openssl prime -generate -bits 64 >/dev/null && echo prime
