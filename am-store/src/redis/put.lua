-- Writes a value if its version is as expected, and keeps the person's index of keys in step.
-- KEYS: value, index, ends. ARGV: name, value, now, end or '', expected version or '', milliseconds to live or '',
-- and two times in milliseconds: before which ended names are swept, and the end for sweeping.
-- Answers the new version, or minus one minus the version that is there.
local held = redis.call('HMGET', KEYS[1], 'n', 'e')
local version = 0
-- Times have 20 digits, so texts compare as numbers would; as Lua numbers they would lose the last digits.
if held[1] and (held[2] == '' or held[2] > ARGV[3]) then version = tonumber(held[1]) end
if ARGV[5] ~= '' and ARGV[5] ~= string.format('%.0f', version) then return -1 - version end

redis.call('HSET', KEYS[1], 'v', ARGV[2], 'n', string.format('%.0f', version + 1), 'e', ARGV[4])
local left = redis.call('PTTL', KEYS[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if ARGV[6] == '' then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
  redis.call('PERSIST', KEYS[3])
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  redis.call('ZADD', KEYS[3], ARGV[8], ARGV[1])
  -- An index lives as long as the longest of its values: -2 is a new one, -1 one with a value that stays.
  if left == -2 or (left >= 0 and left < tonumber(ARGV[6])) then
    redis.call('PEXPIRE', KEYS[2], ARGV[6])
    redis.call('PEXPIRE', KEYS[3], ARGV[6])
  end
end

local ended = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[7], 'LIMIT', 0, 64)
if #ended > 0 then
  redis.call('ZREM', KEYS[2], unpack(ended))
  redis.call('ZREM', KEYS[3], unpack(ended))
end
return version + 1
