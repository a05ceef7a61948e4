// Threads: mutexes, condition variables, read-write locks, barriers, semaphores, atomics, thread-local storage, once, cancellation.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 5000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long guarded;
static atomic_long counted;
static _Atomic unsigned char bytes;
static _Atomic uint16_t halves;
static atomic_int swapped;
static __thread long mine;
static pthread_barrier_t barrier;

static void *count(void *argument) {
    long me = (long)argument;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        guarded += 1;
        pthread_mutex_unlock(&lock);
        atomic_fetch_add(&counted, me);
        atomic_fetch_xor(&bytes, 1 << me % 8);
        atomic_fetch_sub(&halves, 3);
        int old = atomic_load(&swapped);
        while (!atomic_compare_exchange_weak(&swapped, &old, old * 3 + 1 - 2 * old)) {}
        mine += me;
    }
    pthread_barrier_wait(&barrier);
    return (void *)mine;
}

enum { SLOTS = 4 };
static int queue[SLOTS], head, tail;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;

static void *produce(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        while (head - tail == SLOTS) pthread_cond_wait(&emptied, &lock);
        queue[head++ % SLOTS] = i;
        pthread_cond_signal(&filled);
        pthread_mutex_unlock(&lock);
    }
    return argument;
}
static void *consume(void *argument) {
    long sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&lock);
        while (head == tail) pthread_cond_wait(&filled, &lock);
        sum += queue[tail++ % SLOTS];
        pthread_cond_broadcast(&emptied);
        pthread_mutex_unlock(&lock);
    }
    *(long *)argument += sum;
    return (void *)sum;
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static long first, second;
static void *read_or_write(void *argument) {
    long torn = 0;
    for (int i = 0; i < ROUNDS; i++) {
        if ((long)argument == 0 && i % 10 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            first++;
            second++;
        } else {
            pthread_rwlock_rdlock(&rwlock);
            torn += first != second;
        }
        pthread_rwlock_unlock(&rwlock);
    }
    return (void *)torn;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_int initialised;
static void initialise(void) { atomic_fetch_add(&initialised, 1); }
static void *do_once(void *argument) {
    pthread_once(&once, initialise);
    return argument;
}

static sem_t ping, pong;
static void *answer(void *argument) {
    for (int i = 0; i < 1000; i++) {
        sem_wait(&ping);
        ++*(int *)argument;
        sem_post(&pong);
    }
    return 0;
}

static pthread_key_t key;
static atomic_int destroyed;
static void destroy(void *value) { atomic_fetch_add(&destroyed, (int)(long)value); }
static void cleaned(void *argument) { ++*(int *)argument; }
static void *be_cancelled(void *argument) {
    pthread_setspecific(key, (void *)5);
    pthread_cleanup_push(cleaned, argument);
    sem_post(&pong);
    for (;;) pause();
    pthread_cleanup_pop(0);
    return 0;
}

static atomic_int published, flag;
static void *publish(void *argument) {
    for (int i = 1; i <= 20000; i++) {
        atomic_store_explicit(&published, i, memory_order_relaxed);
        atomic_store_explicit(&flag, i, memory_order_release);
        if (i % 1000 == 0) sched_yield();
    }
    return argument;
}
static void *observe(void *argument) {
    long stale = 0;
    int seen;
    do {
        seen = atomic_load_explicit(&flag, memory_order_acquire);
        stale += atomic_load_explicit(&published, memory_order_relaxed) < seen;
    } while (seen < 20000);
    (void)argument;
    return (void *)stale;
}

static void *post(void *argument) {
    sem_post(&pong);
    return argument;
}
static void *be_last(void *main_thread) {
    pthread_join((pthread_t)main_thread, 0);
    puts("main thread is gone");
    return 0;
}

int main(void) {
    pthread_t threads[THREADS];
    void *result;
    long sum = 0;
    pthread_barrier_init(&barrier, 0, THREADS + 1);
    for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], 0, count, (void *)i);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &result);
        sum += (long)result;
    }
    printf("guarded %ld counted %ld bytes %d halves %d swapped %d local %ld (%ld)\n", guarded, counted, bytes, halves, swapped, sum, mine);

    pthread_t producer, consumer;
    sum = 0;
    pthread_create(&consumer, 0, consume, &sum);
    pthread_create(&producer, 0, produce, &sum);
    pthread_join(producer, &result);
    pthread_join(consumer, &result);
    printf("consumed %ld\n", sum);

    sum = 0;
    for (long i = 0; i < 4; i++) pthread_create(&threads[i], 0, read_or_write, (void *)i);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &result);
        sum += (long)result;
    }
    printf("written %ld torn %ld\n", first, sum);

    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, do_once, 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    printf("once %d\n", initialised);

    int answers = 0;
    sem_init(&ping, 0, 0);
    sem_init(&pong, 0, 0);
    pthread_create(&threads[0], 0, answer, &answers);
    for (int i = 0; i < 1000; i++) {
        sem_post(&ping);
        sem_wait(&pong);
    }
    pthread_join(threads[0], 0);
    printf("answers %d\n", answers);

    int cleanups = 0;
    pthread_key_create(&key, destroy);
    pthread_create(&threads[0], 0, be_cancelled, &cleanups);
    sem_wait(&pong);
    pthread_cancel(threads[0]);
    pthread_join(threads[0], &result);
    printf("cancelled %d cleanups %d destroyed %d\n", result == PTHREAD_CANCELED, cleanups, destroyed);

    pthread_create(&threads[0], 0, observe, 0);
    pthread_create(&threads[1], 0, publish, 0);
    pthread_join(threads[0], &result);
    pthread_join(threads[1], 0);
    printf("stale %ld\n", (long)result);

    pthread_mutex_t kinds[2];
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&kinds[0], &attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&kinds[1], &attributes);
    printf("recursive %d %d", pthread_mutex_lock(&kinds[0]), pthread_mutex_lock(&kinds[0]));
    int locked = pthread_mutex_lock(&kinds[1]);
    printf(" checked %d %d\n", locked, pthread_mutex_lock(&kinds[1]) == EDEADLK);

    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
    pthread_mutex_lock(&lock);
    printf("timed wait %s\n", pthread_cond_timedwait(&filled, &lock, &until) == ETIMEDOUT ? "timed out" : "woken");
    pthread_mutex_unlock(&lock);
    char name[16] = "";
    pthread_setname_np(pthread_self(), "worker");
    pthread_getname_np(pthread_self(), name, sizeof name);
    printf("name %s\n", name);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setstacksize(&detached, 65536);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 200; i++) {
        pthread_create(&threads[0], &detached, post, 0);
        sem_wait(&pong);
    }
    printf("detached\n");
    pthread_create(&threads[0], 0, be_last, (void *)pthread_self());
    pthread_exit(0);
}
