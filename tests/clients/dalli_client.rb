# Proves that Ruby's Dalli works with the server: every command that it has, objects of every kind, compression, many keys
# at once, several servers and a Unix socket. Its arguments are the addresses of servers, the last one a Unix socket.

require "dalli"
require "timeout"

$count = 0

def equal(actual, expected, what)
  raise "#{what}: got #{actual.inspect[0, 200]}, expected #{expected.inspect[0, 200]}" unless actual == expected

  $count += 1
end

def raises(kind, what)
  yield
  raise "#{what}: raised nothing"
rescue kind
  $count += 1
end

def commands(client)
  equal client.get("missing"), nil, "get of a missing key"
  equal client.set("key", "value").is_a?(Integer), true, "set gives a cas unique"
  equal client.get("key"), "value", "get"
  equal client.add("key", "other"), false, "add of a key that exists"
  equal client.add("added", "new") ? true : false, true, "add of a key that does not"
  equal client.replace("missing", "x"), 0, "replace of a missing key"
  equal client.replace("added", "newer") ? true : false, true, "replace"
  client.set("text", "middle", nil, raw: true)
  equal client.append("text", "-end"), true, "append"
  equal client.prepend("text", "start-"), true, "prepend"
  equal client.get("text", raw: true), "start-middle-end", "both join"
  equal client.cas("key") { |value| "#{value} and more" } ? true : false, true, "cas"
  equal client.get("key"), "value and more", "and what it stored"
  equal client.cas("missing") { "x" }, nil, "cas of a missing key"
  changed = client.cas("key") { |value| client.set("key", "in between") && value }
  equal changed, false, "cas of a key that changed"
  equal client.incr("count", 1, nil, 10), 10, "incr with a value to begin with"
  equal client.incr("count", 5), 15, "incr"
  equal client.decr("count", 20), 0, "decr stops at 0"
  equal client.incr("nothing"), nil, "incr of a missing key"
  equal client.touch("key", 1000), true, "touch"
  equal client.touch("missing", 1000), nil, "touch of a missing key"
  equal client.gat("key", 1000), "in between", "gat"
  equal client.delete("key"), true, "delete"
  equal client.delete("key"), nil, "delete of a missing key"
  equal client.fetch("made") { "made now" }, "made now", "fetch of a missing key"
  equal client.fetch("made") { raise "it is there" }, "made now", "fetch"
  client.set("brief", "v", 1)
  sleep 0.02 while client.get("brief")
  equal client.get("brief"), nil, "it expires"
  equal client.version.values.uniq, ["1.6.45"], "version"
  equal client.stats.values.first["version"], "1.6.45", "stats"
end

def values(client)
  [7, 2.5, nil, true, :symbol, "ünïcode ✓", { "list" => [1, { two: 3 }] }, (0..255).map(&:chr).join,
   "compressed well " * 30_000, Random.bytes(500_000)].each do |value|
    client.set("value", value, 60)
    equal client.get("value"), value, "a #{value.class}"
  end
  raises(Dalli::ValueOverMaxSize, "a value that is too large") { client.set("value", Random.bytes(2 << 20)) }
end

def many(client, server_count)
  keys = (0...100).map { |number| "many-#{number}" }
  client.multi { keys.each { |key| client.set(key, "value of #{key}") } }
  found = client.get_multi(keys + ["missing"])
  equal found, keys.to_h { |key| [key, "value of #{key}"] }, "get_multi"
  client.multi { keys.each { |key| client.delete(key) } }
  equal client.get_multi(keys), {}, "and none when they are deleted"
  items = client.stats.values.count { |stats| stats["total_items"].to_i > 10 }
  equal items, server_count, "every server has had some of them"
end

first, second, third, socket = ARGV
puts "CLIENT | Dalli #{Dalli::VERSION} | Ruby | binary | " \
     "every command, objects, compression, quiet bursts, three servers, a Unix socket"
Timeout.timeout(60) do
  [[first], [first, second, third], [socket]].each do |servers|
    client = Dalli::Client.new(servers, compress: true)
    client.flush
    commands(client)
    values(client)
    many(client, servers.length)
    client.close
  end
end
puts "#{File.basename(__FILE__)}: #{$count} checks passed"
