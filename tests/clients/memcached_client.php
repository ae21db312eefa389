<?php
// Proves that PHP's Memcached works with the server: every command that it has, values of every type, several servers,
// and sessions with their locks. Its arguments are the addresses of servers, the last one a Unix socket.

declare(strict_types=1);

set_error_handler(function (int $level, string $message, string $file, int $line): bool {
    throw new ErrorException($message, 0, $level, $file, $line);
});
set_time_limit(60);
// A session begins before anything is written.
ob_start();

$count = 0;

function equal(mixed $actual, mixed $expected, string $what): void
{
    global $count;
    if ($actual !== $expected) {
        $seen = substr(var_export($actual, true), 0, 200);
        throw new Exception("$what: got $seen, expected " . substr(var_export($expected, true), 0, 200));
    }
    $count += 1;
}

function within(float $seconds, callable $condition, string $what): void
{
    $deadline = microtime(true) + $seconds;
    while (!$condition()) {
        if (microtime(true) > $deadline) {
            throw new Exception("$what: not in $seconds s");
        }
        usleep(20_000);
    }
    equal(true, true, $what);
}

function connect(array $addresses, bool $binary): Memcached
{
    $client = new Memcached();
    $client->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
    foreach ($addresses as $address) {
        if (str_starts_with($address, '/')) {
            $client->addServer($address, 0);
        } else {
            [$host, $port] = explode(':', $address);
            $client->addServer($host, (int) $port);
        }
    }
    return $client;
}

function commands(Memcached $client): void
{
    equal($client->set('key', 'value'), true, 'set');
    equal($client->get('key'), 'value', 'get');
    equal($client->get('missing'), false, 'get of a missing key');
    equal($client->getResultCode(), Memcached::RES_NOTFOUND, 'and why');
    equal($client->add('key', 'other'), false, 'add of a key that exists');
    $isBinary = (bool) $client->getOption(Memcached::OPT_BINARY_PROTOCOL);
    $why = $isBinary ? Memcached::RES_DATA_EXISTS : Memcached::RES_NOTSTORED;
    equal($client->getResultCode(), $why, 'and why');
    equal($client->add('added', 'new'), true, 'add of a key that does not');
    equal($client->replace('missing', 'x'), false, 'replace of a missing key');
    equal($client->replace('added', 'newer'), true, 'replace');
    $client->setOption(Memcached::OPT_COMPRESSION, false);
    equal($client->append('key', '-end'), true, 'append');
    equal($client->prepend('key', 'start-'), true, 'prepend');
    $client->setOption(Memcached::OPT_COMPRESSION, true);
    ['value' => $value, 'cas' => $cas] = $client->get('key', null, Memcached::GET_EXTENDED);
    equal($value, 'start-value-end', 'get with its cas');
    equal($client->cas($cas, 'key', 'second'), true, 'cas with nothing in between');
    equal($client->cas($cas, 'key', 'third'), false, 'cas again');
    equal($client->getResultCode(), Memcached::RES_DATA_EXISTS, 'and why');
    $client->set('count', 10);
    equal($client->increment('count', 5), 15, 'increment');
    equal($client->decrement('count', 20), 0, 'decrement stops at 0');
    equal($client->increment('missing'), false, 'increment of a missing key');
    equal($client->touch('key', 1000), true, 'touch');
    equal($client->delete('key'), true, 'delete');
    equal($client->delete('key'), false, 'delete of a missing key');
    $client->set('brief', 'v', 1);
    within(5, fn () => $client->get('brief') === false, 'it expires');
    equal(array_unique(array_values($client->getVersion())), ['1.6.45'], 'version');
    equal(array_sum(array_column($client->getStats(), 'curr_items')) > 0, true, 'stats');
}

function values(Memcached $client): void
{
    $all = [
        'text' => 'ünïcode ✓', 'int' => -7, 'float' => 2.5, 'true' => true, 'null' => null,
        'list' => [1, 'two', ['three' => 3.5]], 'bytes' => implode('', array_map('chr', range(0, 255))),
        'compressed' => str_repeat('compressed well ', 30_000), 'raw' => random_bytes(500_000),
    ];
    foreach ($all as $key => $value) {
        equal($client->set($key, $value), true, "set of $key");
        equal($client->get($key), $value, "get of $key");
    }
    $client->set('object', new DateTimeImmutable('2026-11-21'));
    equal($client->get('object')->format('Y-m-d'), '2026-11-21', 'an object');
    $keys = array_map(fn (int $number) => "many-$number", range(0, 99));
    equal($client->setMulti(array_combine($keys, range(0, 99))), true, 'setMulti');
    $found = $client->getMulti([...$keys, 'missing'], Memcached::GET_PRESERVE_ORDER);
    equal(array_slice($found, 0, 100), array_combine($keys, range(0, 99)), 'getMulti');
    equal($found['missing'], null, 'and what is not there');
    equal($client->deleteMulti(['many-1', 'missing']), ['many-1' => true, 'missing' => Memcached::RES_NOTFOUND],
        'deleteMulti');
}

function sessions(array $addresses, bool $binary): void
{
    // As these are on the command line, there is no cookie that could say which session it is.
    ini_set('session.use_cookies', '0');
    ini_set('session.cache_limiter', '');
    ini_set('session.save_handler', 'memcached');
    ini_set('memcached.sess_binary_protocol', $binary ? '1' : '0');
    ini_set('session.save_path', implode(',', $addresses));
    $id = 'test-' . bin2hex(random_bytes(8));
    session_id($id);
    session_start();
    equal($_SESSION, [], 'a new session is empty');
    $_SESSION = ['user' => ['id' => 42, 'name' => 'Ada']];
    equal(locks($addresses, $binary, $id), 1, 'it is locked while it is open');
    session_write_close();
    equal(locks($addresses, $binary, $id), 0, 'and no longer');
    session_id($id);
    session_start();
    equal($_SESSION['user']['name'] ?? null, 'Ada', 'it is read again');
    session_destroy();
    session_id($id);
    session_start();
    equal($_SESSION, [], 'and gone when it was destroyed');
    session_write_close();
}

/** On how many of the servers a session is locked. */
function locks(array $addresses, bool $binary, string $id): int
{
    $isLocked = fn (string $address) => connect([$address], $binary)->get("memc.sess.key.lock.$id") === '1';
    return count(array_filter($addresses, $isLocked));
}

[, $first, $second, $third, $socket] = $argv;
$name = 'php-memcached ' . phpversion('memcached');
foreach (['text' => false, 'binary' => true] as $protocol => $binary) {
    echo "CLIENT | $name | PHP | $protocol | "
        . "every command, values of every type, three servers, a Unix socket, sessions\n";
    foreach ([[$first], [$first, $second, $third], [$socket]] as $addresses) {
        $client = connect($addresses, $binary);
        $client->flush();
        commands($client);
        values($client);
        $client->quit();
    }
    sessions([$first], $binary);
    sessions([$first, $second, $third], $binary);
}
echo basename(__FILE__) . ": $count checks passed\n";
