"""What Redis runs for standing shares (`stores.redis_shares`).

A share is a field of its host's hash, `share-<epoch>|<counter>`, and its amount is held in the
balance. Commands of one process are numbered, and what they answered is kept until the process
has heard it: a command that is sent again, because nobody knows whether it arrived, does nothing
the second time and gives the same answer.
"""

from __future__ import annotations

from llmgw.stores.redis_script import _COMMON

_NUMBERED = """
-- KEYS: epoch, told, share. ARGV: epoch, number, a number that was heard, instant or ''.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
local kept = redis.call('HGET', KEYS[2], ARGV[2])
if kept then return kept end
local function answer(text)
  redis.call('HDEL', KEYS[2], ARGV[3])
  redis.call('HSET', KEYS[2], ARGV[2], text)
  redis.call('PEXPIRE', KEYS[2], 7200000)
  return text
end
"""

_FIELDS = """
local now = clock(ARGV[4])
local function whole(amount) return string.format('%.0f', amount) end
local function hold(key, amount, stop)
  local s = read(redis.call('GET', key))
  if not s then
    if amount <= 0 then return end
    s = {0, 0, stop}
  end
  s[2] = max(0, s[2] + amount)
  write(key, 4, s, 0, 0, 0, now)
end
local function lower(owner, field, amount)
  local share = tonumber(redis.call('HGET', owner, field) or 0)
  local taken = min(share, amount)
  if taken >= share then redis.call('HDEL', owner, field)
  else redis.call('HSET', owner, field, whole(share - taken)) end
  return taken
end
"""

SHARE = (
    _COMMON
    + _NUMBERED
    + _FIELDS
    + """
-- KEYS: then owners, shares, counters. ARGV: then tag, hosts, wishes (need, limit, end of the period).
redis.call('HSET', KEYS[5], KEYS[3], whole(clock('')))
redis.call('SADD', KEYS[4], KEYS[3])
local out = {}
for i = 1, #KEYS - 5 do
  local key = KEYS[5 + i]
  local need, limit, stop = unpack('<ddd', ARGV[7], 1 + (i - 1) * 24)
  local s = read(redis.call('GET', key)) or {0, 0, stop}
  local field = ARGV[5] .. '|' .. key
  local share = tonumber(redis.call('HGET', KEYS[3], field) or 0)
  local free = limit - s[1] - s[2] + share
  local wanted = max(need, floor(free / (100 * ARGV[6])))
  if wanted > floor(free / (20 * ARGV[6])) or stop <= now then wanted = 0 end
  local more, less = 0, 0
  if share * 2 < wanted then
    more = wanted - share
    s[2] = s[2] + more
    write(key, 4, s, 0, 0, 0, now)
    redis.call('HSET', KEYS[3], field, whole(wanted))
  elseif share > wanted * 2 then less = share - wanted end
  out[i] = pack('<dd', more, less)
end
return answer(table.concat(out))
"""
)
"""Have shares be what they should. The reply: how much more each is, or how much should be given back.

A host's part is the larger of one request's need and 1 % of what is free among the hosts; nothing
where that were more than 5 %. What is too much is given back by `GIVE`, once nobody can spend it.
"""

GIVE = (
    _COMMON
    + _NUMBERED
    + _FIELDS
    + """
-- KEYS: then counters. ARGV: then tag, amounts.
for i = 1, #KEYS - 3 do
  local amount = unpack('<d', ARGV[6], 1 + (i - 1) * 8)
  hold(KEYS[3 + i], -lower(KEYS[3], ARGV[5] .. '|' .. KEYS[3 + i], amount), 0)
end
return answer('')
"""
)
"""Give back a part of shares."""

_MOVED = """
for i = 1, #ARGV - first, 5 do
  local field, tag, key = ARGV[first + i], ARGV[first + i + 1], KEYS[5 + tonumber(ARGV[first + i + 2])]
  local amount = tonumber(ARGV[first + i + 3])
  if redis.call('HEXISTS', KEYS[4], field) == 0 then
    local taken = lower(KEYS[3], tag .. '|' .. key, amount)
    redis.call('HSET', KEYS[4], field, whole(amount))
    if taken < amount then hold(key, amount - taken, tonumber(ARGV[first + i + 4])) end
  end
end
redis.call('SADD', KEYS[5], KEYS[4])
"""

MOVE = (
    _COMMON
    + _NUMBERED
    + _FIELDS
    + "local first = 4"
    + _MOVED
    + """
return answer('')
"""
)
"""Make leases of what was let on from shares. KEYS: then owner, owners, counters.

ARGV: then field, tag, counter, amount and end of the period of each. A lease that is there stays.
"""

ADOPT = (
    _COMMON
    + _FIELDS
    + "local first = 4"
    + _MOVED
    + """
return 1
"""
)
"""The same for a process that has died: KEYS from the third on and ARGV from the fifth on as in `MOVE`."""

BEGIN = (
    _COMMON
    + _FIELDS
    + """
-- KEYS: share. ARGV: tag, -, -, instant or ''.
for i, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local tag, key = string.match(field, '^([^|]*)|(.*)$')
  if tag ~= ARGV[1] then hold(key, -lower(KEYS[1], field, 9e15), 0) end
end
return 1
"""
)
"""A new epoch begins for a host: no share of another one is left."""

FREE = (
    _COMMON
    + _FIELDS
    + """
-- KEYS: shares, owners. ARGV: microseconds after which a host is gone, -, -, instant or ''.
local owner, time, freed = nil, clock(''), 0
for i, item in ipairs(redis.call('HGETALL', KEYS[1])) do
  if i % 2 == 1 then owner = item
  elseif time - tonumber(item) > tonumber(ARGV[1]) then
    for _, field in ipairs(redis.call('HKEYS', owner)) do
      hold(string.match(field, '^[^|]*|(.*)$'), -lower(owner, field, 9e15), 0)
    end
    redis.call('HDEL', KEYS[1], owner)
    redis.call('SREM', KEYS[2], owner)
    freed = freed + 1
  end
end
return freed
"""
)
"""End the shares of hosts that have not been heard of for that long. The reply: of how many."""
