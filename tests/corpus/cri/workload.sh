#!/bin/sh
# What the recorded containers ran (busybox). tests/it/corpus.rs knows these messages by heart: change both or none.
line() { printf "%0${1}d\n" "$1"; } # a line of that many bytes
echo 'plain line'
echo
printf '  spaces, a tab\there, "quotes", back\\slash  \n'
printf 'umlaut \303\274, ship \360\237\232\242\n'
printf 'broken \377 utf-8\n'
printf 'carriage return\r\n'
echo 'from stderr' >&2
sleep 0.3
# One line a read, so that it begins where the read begins …
for bytes in 8191 8192 8193 16383 16384 16385 20000; do
  line "$bytes"
  sleep 0.2
done
# … and some that share reads.
for bytes in 40000 100 8190; do line "$bytes"; done
sleep 0.3
printf 'half of stdout, '
sleep 0.3
echo 'stderr in between' >&2
sleep 0.3
echo 'other half of stdout'
sleep 0.3
printf 'no newline at the end'
