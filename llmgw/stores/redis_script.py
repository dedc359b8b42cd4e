"""What Redis runs: the steps of `limits` in Lua, whole requests at a time.

Lua counts in doubles, exact up to 2^53, so instants are microseconds here and the products of a
token bucket are divided digit by digit. Records are doubles one after the other: a claim is kind,
flags, limit, cost, window, segments, end of its period; a settlement also has its charge, when
it was taken, and which key and request it is of.

Needs Redis 5 (effects are replicated, not scripts). Each text is a whole script.
"""

from __future__ import annotations

from hashlib import sha1

from llmgw.core.claim import BALANCE, FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET

KINDS = {FIXED_WINDOW: 1, SLIDING_WINDOW: 2, TOKEN_BUCKET: 3, BALANCE: 4}
"""A place among requests under way is a host's own matter."""
SILENT, UNLEASED, DEBTLESS = 1, 2, 4
"""Flags: refuses nobody; no lease stands behind a charge; of a bucket that is never more than empty."""

_COMMON = """
local PARTS = 1000000
local floor, max, min, abs = math.floor, math.max, math.min, math.abs
local spread = unpack
local pack, unpack = struct.pack, struct.unpack
local formats = {}
local function format(n)
  local f = formats[n]
  if not f then f = '<' .. string.rep('d', n); formats[n] = f end
  return f
end
local function read(value)
  if not value then return nil end
  local state = {unpack(format(#value / 8), value)}
  state[#state] = nil
  return state
end
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
-- a * n / d rounded down, and what is left over; a, n >= 0
local function muldiv(a, n, d)
  local product = a * n
  if product < 9007199254740992 then
    local q = floor(product / d)
    return q, product - q * d
  end
  local q = floor(a / d) * n
  a = a % d
  local base = 2
  while base < 1048576 and d * base * 4 < 9007199254740992 do base = base * 2 end
  local digits = {}
  while n > 0 do
    digits[#digits + 1] = n % base
    n = floor(n / base)
  end
  local part, rest = 0, 0
  for i = #digits, 1, -1 do
    rest = rest * base + a * digits[i]
    local whole = floor(rest / d)
    part = part * base + whole
    rest = rest - whole * d
  end
  return q + part, rest
end
local function refill_time(parts, limit, window)
  if limit == 0 then return window end
  local q, rest = muldiv(parts, window, limit * PARTS)
  if rest > 0 then return q + 1 end
  return q
end
local function refilled(s, limit, window, now)
  if not s or s[2] == 0 then return now, 0 end
  local elapsed = now - s[1]
  if elapsed <= -window then return now, 0 end
  if elapsed <= 0 then return s[1], s[2] end
  local refill = muldiv(elapsed, limit * PARTS, window)
  if refill <= 0 then return s[1], s[2] end
  return now, max(0, s[2] - refill)
end
local function turned(s, newest, segments)
  local turns = segments
  if s then turns = newest - s[1] end
  local t = {newest, 0}
  if abs(turns) >= segments then
    for i = 1, segments do t[2 + i] = 0 end
    return t
  end
  if turns <= 0 then return s end
  local sum = 0
  for i = 1, segments do
    local count = 0
    if i > turns then count = s[2 + i - turns] end
    t[2 + i] = count
    sum = sum + count
  end
  t[2] = sum
  return t
end
local steps = {}
-- each: the state after it or nil, what remains, an instant, whether only holds are in the way
steps[1] = function(s, flags, limit, cost, window, segments, stop, now)
  local start, used = now, 0
  if s and now - s[1] > -window and now - s[1] < window then start, used = s[1], s[2] end
  if used + cost <= limit then return {start, used + cost}, limit - used - cost, start + window end
  return nil, max(0, limit - used), start + window
end
steps[2] = function(s, flags, limit, cost, window, segments, stop, now)
  local length = floor(window / segments)
  local newest = floor(now / length)
  if not s or s[1] ~= newest then s = turned(s, newest, segments) end
  newest = s[1]
  local after = s[2] + cost
  if after <= limit then
    local t = {newest, after, s[3] + cost}
    for i = 4, 2 + segments do t[i] = s[i] end
    return t, limit - after, (newest + segments) * length
  end
  local excess, freed, found = after - limit, 0, 0
  for age = segments - 1, 1, -1 do
    freed = freed + s[3 + age]
    if freed >= excess then found = age; break end
  end
  return nil, max(0, limit - s[2]), (newest - found + segments) * length
end
steps[3] = function(s, flags, limit, cost, window, segments, stop, now)
  local room = limit * PARTS
  if s and s[2] > room and flags >= 4 then s = {s[1], room} end
  local since, missing = refilled(s, limit, window, now)
  local after = missing + cost * PARTS
  if after <= room then
    return {since, after}, floor((room - after) / PARTS), since + refill_time(after, limit, window)
  end
  local remaining = floor(max(0, room - missing) / PARTS)
  if limit == 0 then return nil, 0, now + window end
  if missing ~= 0 then since, missing = s[1], s[2] end
  return nil, remaining, since + refill_time(missing + cost * PARTS - room, limit, window)
end
steps[4] = function(s, flags, limit, cost, window, segments, stop, now)
  local spent, held = 0, 0
  if s then spent, held = s[1], s[2] end
  local after = spent + held + cost
  if after <= limit or flags % 2 == 1 then return {spent, held + cost, stop}, limit - after, stop, false end
  return nil, max(0, limit - spent - held), stop, spent + cost <= limit
end
local settled = {}
settled[1] = function(s, limit, cost, window, segments, stop, charge, taken, now)
  local change = charge - cost
  local start, used = now, 0
  if s and now - s[1] > -window and now - s[1] < window then start, used = s[1], s[2] end
  if change <= 0 and not (start <= taken and taken < start + window) then return s end
  return {start, max(0, used + change)}
end
settled[2] = function(s, limit, cost, window, segments, stop, charge, taken, now)
  local change = charge - cost
  local length = floor(window / segments)
  s = turned(s, floor(now / length), segments)
  local age = 0
  if change <= 0 then age = s[1] - floor(taken / length) end
  if age < 0 or age >= segments then return s end
  change = max(change, -s[3 + age])
  s[3 + age] = s[3 + age] + change
  s[2] = s[2] + change
  return s
end
settled[3] = function(s, limit, cost, window, segments, stop, charge, taken, now)
  local since, missing = refilled(s, limit, window, now)
  return {since, max(0, missing + (charge - cost) * PARTS)}
end
settled[4] = function(s, limit, cost, window, segments, stop, charge, taken, now)
  if not s then s = {0, 0, stop} end
  return {s[1] + charge, max(0, s[2] - cost), s[3]}
end
-- The kind is the last double, so that a value says what it is.
local function write(key, kind, s, limit, window, segments, now)
  local ends
  if kind == 1 then ends = s[1] + window
  elseif kind == 2 then ends = (s[1] + segments) * floor(window / segments)
  elseif kind == 3 then ends = s[1] + refill_time(s[2], limit, window)
  else ends = s[3] + 3600000000 end
  local n = #s
  local copy = {}
  for i = 1, n do copy[i] = s[i] end
  copy[n + 1] = kind
  local left = floor(min(max(ends - now, 0), 4e13) / 1000) + 1000
  redis.call('SET', key, pack(format(n + 1), spread(copy)), 'PX', string.format('%.0f', left))
end
"""

ACQUIRE = (
    _COMMON
    + """
-- KEYS: epoch, owner, counters. ARGV: epoch, '1' to take nothing, request, instant or '', claims.
local values = redis.call('MGET', KEYS[1], spread(KEYS, 3))
if values[1] ~= ARGV[1] then return redis.error_reply('EPOCH ' .. (values[1] or '-')) end
local now = clock(ARGV[4])
local blob = ARGV[5]
local count = #KEYS - 2
local out, after, records = {pack('<d', now)}, {}, {}
local refused = ARGV[2] ~= ''
for i = 1, count do
  local kind, flags, limit, cost, window, segments, stop = unpack('<ddddddd', blob, 1 + (i - 1) * 56)
  local s, remaining, at, held =
    steps[kind](read(values[i + 1]), flags, limit, cost, window, segments, stop, now)
  local passed = 1
  if not s then
    passed = 0
    if held then passed = 2 end
    if flags % 2 == 0 then refused = true end
  end
  after[i] = s or false
  records[i] = {kind, limit, window, segments, cost}
  out[i + 1] = pack('<ddd', passed, remaining, at)
end
if not refused then
  local leases = {}
  for i = 1, count do
    if after[i] then
      local r = records[i]
      write(KEYS[i + 2], r[1], after[i], r[2], r[3], r[4], now)
      if r[1] == 4 then
        leases[#leases + 1] = ARGV[3] .. '|' .. KEYS[i + 2]
        leases[#leases + 1] = string.format('%.0f', r[5])
      end
    end
  end
  if #leases > 0 then redis.call('HSET', KEYS[2], spread(leases)) end
end
return table.concat(out)
"""
)
"""Take all claims of a request or none. The reply: now, then passed, remaining and instant of each.

passed: 1, 0, or 2 for a balance that only holds exhaust.
"""

SETTLE = (
    _COMMON
    + """
-- KEYS: epoch, owner, counters. ARGV: epoch, instant or '', settlements, requests.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
local now = clock(ARGV[2])
local blob = ARGV[3]
local out = {}
for i = 1, #blob / 88 do
  local kind, flags, limit, cost, window, segments, stop, charge, taken, index, request =
    unpack('<ddddddddddd', blob, 1 + (i - 1) * 88)
  local key = KEYS[2 + index]
  local spent = -1
  local leased = kind == 4 and flags < 2
  if leased then
    local field = ARGV[3 + request] .. '|' .. key
    cost = tonumber(redis.call('HGET', KEYS[2], field) or -1)
    if cost >= 0 then redis.call('HDEL', KEYS[2], field) end
  end
  if not leased or cost >= 0 then
    local s = read(redis.call('GET', key))
    s = settled[kind](s, limit, cost, window, segments, stop, charge, taken, now)
    if s then
      write(key, kind, s, limit, window, segments, now)
      if kind == 4 then spent = s[1] end
    end
  end
  out[i] = pack('<d', spent)
end
return table.concat(out)
"""
)
"""Turn what was taken into what was used. A balance is charged once, however often it is asked:
its lease ends with the first. The reply: what is spent of each balance, -1 for anything else."""

ENTER = """
-- KEYS: epoch, next. ARGV: server, candidate.
local epoch = redis.call('GET', KEYS[1])
if epoch and string.sub(epoch, 1, #ARGV[1]) == ARGV[1] then return {'live', epoch} end
local coming = redis.call('GET', KEYS[2])
if coming and string.sub(coming, 1, #ARGV[1]) == ARGV[1] then return {'seeding', coming} end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', 10000)
return {'lead', ARGV[2]}
"""
"""The epoch of this server's counters; where there is none, who asks first makes one."""

JOIN = (
    _COMMON
    + """
-- KEYS: epoch, next, joined, owner, owners, members, then counters.
-- ARGV: epoch, member, instant or '', '1' in an epoch that it was in before, count of leases,
-- leases (field, key index, amount), known.
local live = redis.call('GET', KEYS[1]) == ARGV[1]
if not live and redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
local now = clock(ARGV[3])
local leases = tonumber(ARGV[5])
local change, field, there, mine = {}, nil, {}, {}
for i, item in ipairs(redis.call('HGETALL', KEYS[4])) do
  if i % 2 == 1 then field = item else there[field] = tonumber(item) end
end
for i = 1, leases do
  local at = 6 + (i - 1) * 3
  mine[ARGV[at]] = true
  -- One that is missing in the same epoch was settled, though the answer was lost.
  if not there[ARGV[at]] and ARGV[4] == '' then
    local key = KEYS[6 + tonumber(ARGV[at + 1])]
    change[key] = (change[key] or 0) + tonumber(ARGV[at + 2])
    redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 2])
  end
end
for lease, amount in pairs(there) do
  if not mine[lease] then
    local key = string.match(lease, '^[^|]*|(.*)$')
    change[key] = (change[key] or 0) - amount
    redis.call('HDEL', KEYS[4], lease)
  end
end
redis.call('SADD', KEYS[5], KEYS[4])
local blob = ARGV[6 + leases * 3]
for i = 1, #blob / 64 do
  local kind, limit, used, window, segments, stop, at, index = unpack('<dddddddd', blob, 1 + (i - 1) * 64)
  local key = KEYS[6 + index]
  local s = read(redis.call('GET', key))
  local changed = true
  if kind == 4 then
    if not s then s = {used, 0, stop} elseif s[1] < used then s[1] = used else changed = false end
  elseif ARGV[4] == '1' then changed = false
  elseif kind == 1 then
    if s and abs(now - s[1]) < window then
      if s[2] < used then s[2] = used else changed = false end
    elseif at > now then s = {at - window, used} else changed = false end
  elseif kind == 2 then
    s = turned(s, floor(now / floor(window / segments)), segments)
    if at > now and s[2] < used then
      s[3] = s[3] + used - s[2]
      s[2] = used
    end
  else
    local since, missing = refilled(s, limit, window, now)
    if at > now and missing < used * PARTS then missing = used * PARTS end
    s = {since, missing}
  end
  if changed and s then write(key, kind, s, limit, window, segments, now) end
end
for key, amount in pairs(change) do
  local s = read(redis.call('GET', key))
  if s and amount ~= 0 then
    s[2] = max(0, s[2] + amount)
    write(key, 4, s, 0, 0, 0, now)
  end
end
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('PEXPIRE', KEYS[3], 60000)
redis.call('HSET', KEYS[6], ARGV[2], string.format('%.0f', clock('')))
return redis.call('SCARD', KEYS[3])
"""
)
"""Say what a process has under way, and what it knows was used. The reply: how many have joined."""

FINISH = """
-- KEYS: epoch, next. ARGV: epoch.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
"""
"""End the seeding: the epoch is in force."""

SEED = (
    _COMMON
    + """
-- KEYS: counters. ARGV: spent and end of the period of each.
local now = clock('')
for i, key in ipairs(KEYS) do
  local s = read(redis.call('GET', key))
  local spent = tonumber(ARGV[2 * i - 1])
  if not s then s = {spent, 0, tonumber(ARGV[2 * i])} else s[1] = max(s[1], spent) end
  write(key, 4, s, 0, 0, 0, now)
end
"""
)
"""What the ledger says was spent, at least. Nothing is taken back: the ledger is late, never early."""

BEAT = """
-- KEYS: members, epoch. ARGV: member, microseconds after which one is gone, epoch.
if redis.call('GET', KEYS[2]) ~= ARGV[3] then return redis.error_reply('EPOCH') end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now))
local hosts, found, count, member = {}, 0, 0, nil
for i, item in ipairs(redis.call('HGETALL', KEYS[1])) do
  if i % 2 == 1 then member = item
  elseif now - tonumber(item) < tonumber(ARGV[2]) then
    count = count + 1
    local host = string.match(member, '^[^:]*')
    if not hosts[host] then hosts[host] = true; found = found + 1 end
  else redis.call('HDEL', KEYS[1], member) end
end
return {found, count}
"""
"""I am here. The reply: how many hosts are, and how many processes."""

SCRIPTS = (ACQUIRE, SETTLE, ENTER, JOIN, FINISH, SEED, BEAT)


def digest_of(script: str) -> bytes:
    """What EVALSHA names a script by."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest().encode()
