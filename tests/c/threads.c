/* Eight threads on one client: they send at once, wait at once, and all wake when another thread closes it. */
#include <pthread.h>

#include "check.h"

enum { THREADS = 8, MESSAGES = 10 };

static pthread_mutex_t taken_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t taken_changed = PTHREAD_COND_INITIALIZER;
static int taken;

static void *send_some(void *client)
{
    int i;
    for (i = 0; i < MESSAGES; i++)
        say((peerchat_t *)client, "bob", "hello");
    return NULL;
}

/* Takes events until the client is closed, and counts the messages among them. */
static void *take(void *client)
{
    for (;;) {
        peerchat_event_t *event;
        peerchat_status_t status = peerchat_poll((peerchat_t *)client, PEERCHAT_WAIT_FOREVER, &event);
        if (status == PEERCHAT_ERR_CLOSED)
            return NULL;
        CHECK_OK(status);
        pthread_mutex_lock(&taken_lock);
        taken += event->kind == PEERCHAT_EVENT_MESSAGE;
        pthread_cond_signal(&taken_changed);
        pthread_mutex_unlock(&taken_lock);
        peerchat_event_free(event);
    }
}

static void wait_until_all_are_taken(void)
{
    pthread_mutex_lock(&taken_lock);
    while (taken < THREADS * MESSAGES)
        pthread_cond_wait(&taken_changed, &taken_lock);
    CHECK(taken == THREADS * MESSAGES);
    pthread_mutex_unlock(&taken_lock);
}

/* A failure on one thread is not the failure of another. */
static void *fail_and_check(void *name)
{
    peerchat_options_t *options = loopback_options(NULL);
    int i;
    for (i = 0; i < 1000; i++) {
        CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_options_set_bind(options, (const char *)name));
        CHECK(strstr(peerchat_last_error(), (const char *)name) != NULL);
    }
    peerchat_options_free(options);
    return NULL;
}

static void start(pthread_t threads[THREADS], void *(*body)(void *), void *argument)
{
    int i;
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, body, argument) == 0);
}

static void join_all(pthread_t threads[THREADS])
{
    int i;
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void errors_are_per_thread(void)
{
    char names[THREADS][16];
    pthread_t threads[THREADS];
    int i;
    for (i = 0; i < THREADS; i++) {
        sprintf(names[i], "thread-%d", i);
        CHECK(pthread_create(&threads[i], NULL, fail_and_check, names[i]) == 0);
    }
    join_all(threads);
}

int main(void)
{
    peerchat_t *alice = loopback_client("alice");
    peerchat_t *bob = loopback_client("bob");
    pthread_t senders[THREADS], takers[THREADS];
    int delivered = 0;

    errors_are_per_thread();
    join(bob, alice);
    start(takers, take, bob);
    start(senders, send_some, alice);
    join_all(senders);
    while (delivered < THREADS * MESSAGES) {
        peerchat_event_t *event = wait_for(alice, PEERCHAT_EVENT_MESSAGE_STATE);
        CHECK(event->state >= PEERCHAT_MESSAGE_QUEUED && event->state <= PEERCHAT_MESSAGE_DELIVERED);
        delivered += event->state == PEERCHAT_MESSAGE_DELIVERED;
        peerchat_event_free(event);
    }
    wait_until_all_are_taken();
    /* All eight wait now, or are about to. */
    CHECK_OK(peerchat_close(bob));
    join_all(takers);

    peerchat_destroy(bob);
    peerchat_destroy(alice);
    return 0;
}
