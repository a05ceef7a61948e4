// The C library's string, memory, sorting, parsing and wide-character functions at every alignment (vector code in dynamic builds).
#define _GNU_SOURCE
#include <ctype.h>
#include <inttypes.h>
#include <locale.h>
#include <search.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static uint32_t seed = 12345;
static uint32_t next(void) { return seed = seed * 1664525 + 1013904223, seed >> 8; }
static uint64_t hash(uint64_t h, const void *data, size_t length) {
    for (const uint8_t *p = data; length--; p++) h = (h ^ *p) * 0x100000001b3u;
    return h;
}

static int by_value(const void *a, const void *b) { return (*(int *)a > *(int *)b) - (*(int *)a < *(int *)b); }
static int by_text(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
static int by_text_with(const void *a, const void *b, void *calls) {
    ++*(int *)calls;
    return strcmp(*(char **)a, *(char **)b);
}

int main(void) {
    static char a[600], b[600], copy[600];
    uint64_t h = 1;
    for (int from = 0; from < 40; from++)
        for (int length = 0; length < 300; length += 1 + length / 9) {
            for (int i = 0; i < 600; i++) a[i] = 'a' + next() % 26, b[i] = '.';
            a[from + length] = 0;
            memcpy(b + (from * 7) % 33, a + from, length + 1);
            h = hash(h, b, sizeof b);
            memmove(a + from + 3, a + from, length);
            h = hash(h, a, sizeof a);
            memset(b + from, 'x', length);
            h = hash(h, b, sizeof b);
            a[from + length] = 0;
            strcpy(copy + from % 5, a + from);
            h = h * 31 + strlen(a + from) + strnlen(a + from, 77);
            h = h * 31 + !!strcmp(a + from, copy + from % 5) + (strncmp(a + from, copy + from % 5, length) == 0);
            char wanted = 'a' + next() % 26, *at;
            h = h * 31 + ((at = strchr(a + from, wanted)) ? at - a : -1);
            h = h * 31 + ((at = strrchr(a + from, wanted)) ? at - a : -1);
            h = h * 31 + ((at = memchr(a + from, wanted, length)) ? at - a : -1);
            h = h * 31 + ((at = memrchr(a + from, wanted, length)) ? at - a : -1);
            h = h * 31 + ((at = strstr(a + from, "ab")) ? at - a : -1);
            h = h * 31 + ((at = memmem(a + from, length, "qz", 2)) ? at - a : -1);
            h = h * 31 + strspn(a + from, "abcdefghijklm") + strcspn(a + from, "xyz");
            h = h * 31 + ((at = strpbrk(a + from, "uvw")) ? at - a : -1);
            if (length > 4) {
                copy[from % 5 + length / 2] ^= 1;
                int c = strcmp(a + from, copy + from % 5), m = memcmp(a + from, copy + from % 5, length);
                h = h * 31 + (c > 0) + 2 * (c < 0) + 4 * (m > 0) + 8 * (m < 0);
                h = h * 31 + (strcasecmp(a + from, copy + from % 5) > 0);
            }
        }
    printf("strings %016" PRIx64 "\n", h);

    static int numbers[20000];
    for (int i = 0; i < 20000; i++) numbers[i] = next() % 100000;
    qsort(numbers, 20000, sizeof *numbers, by_value);
    int wrong = 0, key = numbers[777];
    for (int i = 1; i < 20000; i++) wrong += numbers[i - 1] > numbers[i];
    int *found = bsearch(&key, numbers, 20000, sizeof *numbers, by_value);
    printf("sorted, %d out of order, first %d last %d, found %d\n", wrong, numbers[0], numbers[19999], *found == key);
    char *words[] = {"pear", "apple", "fig", "quince", "banana", "cherry", "date", "elderberry", "grape"};
    int calls = 0;
    qsort(words, 9, sizeof *words, by_text);
    qsort_r(words, 9, sizeof *words, by_text_with, &calls);
    for (int i = 0; i < 9; i++) printf("%s ", words[i]);
    printf("%s\n", calls > 7 ? "counted" : "not counted");

    char text[] = "one,two;;three four", *rest = text, *token, *save;
    while ((token = strsep(&rest, ",; "))) printf("<%s>", token);
    char again[] = "  a b\tc  ";
    for (token = strtok_r(again, " \t", &save); token; token = strtok_r(0, " \t", &save)) printf("(%s)", token);
    putchar('\n');

    int n, x;
    double d;
    char word[20], set[20];
    n = sscanf("42 3.25 hello abc123 0x1f", "%d %lf %19s %19[a-z]%*d %i", &x, &d, word, set, &key);
    printf("%d: %d %g %s %s %d\n", n, x, d, word, set, key);
    char *end;
    printf("%ld %ld %lu %lld\n", strtol("-77zz", &end, 10), strtol("zz", 0, 36), strtoul("ffffffffffffffff", 0, 16), strtoll("-9223372036854775809", 0, 10));
    printf("[%5d|%-5d|%05d|%+d|%x|%#X|%o|%c|%10.3s|%-8s|%%|%n", 42, 42, 42, 42, 48879, 48879, 8, '!', "abcdef", "left", &n);
    printf("%d]\n", n);
    printf("%*d %.*f %hhd %hd %zd %jd %p\n", 6, 7, 2, 3.14159, (char)200, (short)70000, (size_t)5, (intmax_t)-6, (void *)0x1234);
    char buffer[8];
    const char *volatile longer = "longer than eight";
    n = snprintf(buffer, sizeof buffer, "%s", longer);
    printf("%d %s\n", n, buffer);
    for (int i = 1; i < 128; i++) x += isalpha(i) * 2 + !!isdigit(i) + toupper(i) + !!ispunct(i) + !!isspace(i);
    printf("%s\n", x > 0 ? "classes" : "none");

    wchar_t wide[64];
    swprintf(wide, 64, L"%ls-%d-%s", L"wide", 7, "narrow");
    char narrow[64];
    wcstombs(narrow, wide, sizeof narrow);
    printf("%s %zu %d\n", narrow, wcslen(wide), wcscmp(wide, L"wide") > 0);
    char *joined;
    n = asprintf(&joined, "%s+%s", "left", "right");
    printf("%s %d %s\n", joined, n, strerror(2));
    free(joined);
    hcreate(100);
    for (int i = 0; i < 9; i++) hsearch((ENTRY){words[i], (void *)(intptr_t)i}, ENTER);
    ENTRY *entry = hsearch((ENTRY){"grape", 0}, FIND);
    printf("%d\n", entry ? (int)(intptr_t)entry->data : -1);
    char *stream_text;
    size_t stream_size;
    FILE *stream = open_memstream(&stream_text, &stream_size);
    for (int i = 0; i < 1000; i++) fprintf(stream, "%d ", i * i);
    fclose(stream);
    printf("%zu %016" PRIx64 "\n", stream_size, hash(1, stream_text, stream_size));
    free(stream_text);
    printf("%s\n", setlocale(LC_ALL, "C"));
    return 0;
}
