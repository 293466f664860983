/* Callbacks: run by peerchat_dispatch or by the library's thread, one at a time; they call back in. */
#include <pthread.h>

#include "check.h"

enum { MESSAGES = 20, THREADS = 4 };

/* What one callback of a person sees and does. */
typedef struct {
    peerchat_t *client;
    const char *peer;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int is_running, received, delivered;
} seen_t;

static void seen_init(seen_t *seen, peerchat_t *client, const char *peer)
{
    memset(seen, 0, sizeof *seen);
    seen->client = client;
    seen->peer = peer;
    CHECK(pthread_mutex_init(&seen->lock, NULL) == 0);
    CHECK(pthread_cond_init(&seen->changed, NULL) == 0);
}

/* Answers each message, and asks the client this and that: all of it from within the callback. */
static void answer(void *context, const peerchat_event_t *event)
{
    seen_t *seen = (seen_t *)context;
    peerchat_message_id_t id;
    peerchat_statistics_t statistics;
    peerchat_history_t *history;

    pthread_mutex_lock(&seen->lock);
    CHECK(!seen->is_running);
    seen->is_running = 1;
    pthread_mutex_unlock(&seen->lock);

    CHECK_STATUS(PEERCHAT_ERR_WRONG_MODE, peerchat_dispatch(seen->client, 0));
    CHECK_OK(peerchat_statistics(seen->client, &statistics, sizeof statistics));
    CHECK_OK(peerchat_set_callback(seen->client, answer, context));
    if (event->kind == PEERCHAT_EVENT_MESSAGE && event->text[0] == '?')
        CHECK_OK(peerchat_send(seen->client, seen->peer, "!", 1, &id));
    CHECK_OK(peerchat_history(seen->client, seen->peer, 0, 1, &history));
    peerchat_history_free(history);

    pthread_mutex_lock(&seen->lock);
    seen->is_running = 0;
    seen->received += event->kind == PEERCHAT_EVENT_MESSAGE;
    seen->delivered +=
        event->kind == PEERCHAT_EVENT_MESSAGE_STATE && event->state == PEERCHAT_MESSAGE_DELIVERED;
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static int is_done(seen_t *seen)
{
    return seen->received == MESSAGES && seen->delivered == MESSAGES;
}

/* Dispatches until everything has arrived; several threads of these take turns. */
static void *dispatch_all(void *context)
{
    seen_t *seen = (seen_t *)context;
    for (;;) {
        peerchat_status_t status = peerchat_dispatch(seen->client, PEERCHAT_WAIT_FOREVER);
        if (status == PEERCHAT_ERR_CLOSED)
            return NULL;
        CHECK_OK(status);
    }
}

static peerchat_t *threaded_client(const char *user)
{
    peerchat_options_t *options = loopback_options(user);
    peerchat_t *client;
    CHECK_OK(peerchat_options_set_callback_thread(options));
    CHECK_OK(peerchat_create(options, &client));
    peerchat_options_free(options);
    return client;
}

static void wait_until_done(seen_t *seen)
{
    pthread_mutex_lock(&seen->lock);
    while (!is_done(seen))
        pthread_cond_wait(&seen->changed, &seen->lock);
    pthread_mutex_unlock(&seen->lock);
}

/* Alice's callback is run by four threads that dispatch, Bob's by the library's thread. Each question is answered. */
static void a_conversation_of_callbacks(void)
{
    peerchat_t *alice = loopback_client("alice"), *bob = threaded_client("bob");
    pthread_t threads[THREADS];
    seen_t alices, bobs;
    uint64_t command;
    char *address;
    int i;
    seen_init(&alices, alice, "bob");
    seen_init(&bobs, bob, "alice");
    CHECK_OK(peerchat_set_callback(alice, answer, &alices));
    CHECK_OK(peerchat_set_callback(bob, answer, &bobs));
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, dispatch_all, &alices) == 0);
    CHECK_OK(peerchat_local_address(alice, &address));
    CHECK_OK(peerchat_bootstrap(bob, address, &command));
    peerchat_string_free(address);
    for (i = 0; i < MESSAGES; i++)
        say(alice, "bob", "?");
    wait_until_done(&alices);
    wait_until_done(&bobs);
    /* Three wait for their turn, one for an event. */
    CHECK_OK(peerchat_close(alice));
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    peerchat_destroy(alice);
    peerchat_destroy(bob);
}

static void close_it(void *context, const peerchat_event_t *event)
{
    CHECK(event->kind == PEERCHAT_EVENT_BOOTSTRAP_FAILED);
    CHECK_OK(peerchat_close((peerchat_t *)context));
    /* Not allowed, and harmless. */
    peerchat_destroy((peerchat_t *)context);
}

static void a_callback_may_close(void)
{
    peerchat_t *node = loopback_client(NULL);
    uint64_t command;
    CHECK_OK(peerchat_set_callback(node, close_it, node));
    CHECK_STATUS(PEERCHAT_NO_EVENT, peerchat_dispatch(node, 0));
    CHECK_OK(peerchat_bootstrap(node, "127.0.0.1:1", &command));
    CHECK_OK(peerchat_dispatch(node, PEERCHAT_WAIT_FOREVER));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_dispatch(node, 0));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_set_callback(node, close_it, node));
    peerchat_destroy(node);
}

static void the_wrong_mode_is_refused(void)
{
    peerchat_t *node = loopback_client(NULL), *threaded = threaded_client(NULL);
    peerchat_event_t *event;
    int fd;
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_callback_thread(NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_set_callback(NULL, close_it, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_set_callback(node, NULL, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_dispatch(NULL, 0));
    CHECK_STATUS(PEERCHAT_ERR_WRONG_MODE, peerchat_dispatch(node, 0));
    CHECK_STATUS(PEERCHAT_ERR_WRONG_MODE, peerchat_dispatch(threaded, 0));
    CHECK_STATUS(PEERCHAT_ERR_WRONG_MODE, peerchat_poll(threaded, 0, &event));
    CHECK_STATUS(PEERCHAT_ERR_WRONG_MODE, peerchat_fd(threaded, &fd));
    CHECK(peerchat_last_error()[0] != '\0');
    peerchat_destroy(threaded);
    peerchat_destroy(node);
}

int main(void)
{
    a_conversation_of_callbacks();
    a_callback_may_close();
    the_wrong_mode_is_refused();
    return 0;
}
