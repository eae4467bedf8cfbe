-- Removes a value. KEYS: value, index, ends. ARGV: name, now. Answers 1 when there was one that had not ended.
local held = redis.call('HMGET', KEYS[1], 'n', 'e')
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
if held[1] and (held[2] == '' or held[2] > ARGV[2]) then return 1 end
return 0
