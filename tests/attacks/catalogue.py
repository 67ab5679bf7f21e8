"""All attacks, in the order of the page."""

from collections.abc import Mapping

from tests.attacks import bodies, crowd, deliveries, neighbours, queues, strangers
from tests.attacks.attack import Attack

_ALL = (
    Attack(
        name="large-headers",
        title="4 connections x 15 MB of headers",
        act=strangers.large_headers,
        memory=30,
    ),
    Attack(
        name="slow-connections",
        title="1,000 connections that send no whole request",
        act=strangers.slow_connections,
        memory=60,
    ),
    Attack(
        name="slow-bodies",
        title="200 bodies at a byte in 3 s",
        act=strangers.slow_bodies,
        memory=60,
    ),
    Attack(
        name="backslashes",
        title="20,000 backslashes in an input, then one GET of its callbacks",
        act=strangers.backslashes,
    ),
    Attack(
        name="wrong-key",
        title="64 connections with one wrong, well-formed key, 8 s",
        act=strangers.wrong_key,
    ),
    Attack(
        name="wrong-keys",
        title="64 connections with ever new wrong keys, 8 s",
        act=strangers.wrong_keys,
    ),
    Attack(
        name="wrong-admin-keys",
        title="64 connections that guess the admin key, 8 s",
        act=strangers.wrong_admin_keys,
    ),
    Attack(
        name="wrong-tokens",
        title="64 connections that guess callback URLs, 8 s",
        act=strangers.wrong_tokens,
    ),
    Attack(
        name="metrics",
        title="64 connections that ask for `/metrics` without a key, 8 s",
        act=strangers.metrics,
    ),
    Attack(
        name="large-callbacks",
        title="100 bodies of 760 kB to a known callback URL",
        prepare=strangers.known_url,
        act=strangers.large_callbacks,
        queries=5,
    ),
    Attack(
        name="many-callbacks",
        title="bodies of 2 bytes to a settled task's callback URL, 8 s",
        prepare=strangers.known_url,
        act=strangers.many_callbacks,
        queries=5,
    ),
    Attack(
        name="open-streams",
        title="300 streams of one client, 10 s",
        act=neighbours.open_streams,
        slower=2.0,
    ),
    Attack(
        name="refreshes",
        title="20 connections that refresh 40 running tasks, 20 s",
        prepare=queues.forty_hang,
        act=queues.refreshes,
        webhook=4.0,
        slower=2.0,
    ),
    Attack(
        name="hanging-tasks",
        title="100 tasks that hang at kie.ai, of 100 seats",
        settings={"GATEWAY_KIE_MAX_RUNNING": "100"},
        prepare=queues.hundred_hang,
        act=queues.hanging,
        webhook=4.0,
        slower=2.0,
    ),
    Attack(
        name="long-queue",
        title="4 connections that create and read behind 100,000 queued tasks, 20 s",
        settings={"GATEWAY_KIE_CREATES_PER_10S": str(queues.CREATES)},
        prepare=queues.queue_filled,
        act=queues.long_queue,
        database=60,
        webhook=4.0,
        slower=2.0,
    ),
    Attack(
        name="lists-of-texts",
        title="64 connections that list the client's 25 tasks of 1 MB, 8 s",
        prepare=bodies.with_tasks(25, bodies.TEXT),
        act=bodies.lists(64, seconds=8),
    ),
    Attack(
        name="lists-with-inputs",
        title="64 connections that list them with `include=input`, 8 s",
        prepare=bodies.with_tasks(25, bodies.TEXT),
        act=bodies.lists(64, with_input=True, seconds=8),
        slower=2.0,
    ),
    Attack(
        name="one-list-of-numbers",
        title="one list of 40 tasks with 0.75 MB of numbers each, with `include=input`",
        prepare=bodies.with_tasks(40, bodies.NUMBERS),
        act=bodies.lists(1, with_input=True),
    ),
    Attack(
        name="four-lists-of-numbers",
        title="four such lists at once",
        prepare=bodies.with_tasks(40, bodies.NUMBERS),
        act=bodies.lists(4, with_input=True),
    ),
    Attack(
        name="slow-receivers",
        title="1,080 repetitions to 12 hosts that take 13.5 s",
        act=deliveries.slow_hosts,
        webhook=4.0,
    ),
    Attack(
        name="slow-path",
        title="30 webhooks to a path that takes 16 s, on another client's host",
        prepare=deliveries.shared_host,
        act=deliveries.slow_path,
        webhook=4.0,
    ),
    Attack(
        name="repetitions",
        title="12,000 repetitions to another client's host, 0.2 s each",
        prepare=deliveries.shared_host_backlog,
        act=deliveries.repetitions,
        webhook=4.0,
        database=50,  # of which its own rows are the most
    ),
    Attack(
        name="crowd",
        title="100 clients with 6 connections each, as fast as they are answered, 15 s",
        prepare=crowd.clients,
        act=crowd.at_their_limits,
    ),
)

ATTACKS: Mapping[str, Attack] = {attack.name: attack for attack in _ALL}
