-- Names in order of bytes, in bounded steps. KEYS: index, ends. ARGV: what stands before a name in the key of its value, the two
-- ends of the range, now, the most names. Answers where to go on ('' at the end), then the names.
-- The keys of the values share the hash tag of KEYS, so they are in the same slot.
local out, from, looked = { '' }, ARGV[2], 0
local limit = tonumber(ARGV[5])
while looked < 2048 do
  local names = redis.call('ZRANGEBYLEX', KEYS[1], from, ARGV[3], 'LIMIT', 0, 256)
  for _, name in ipairs(names) do
    local ends = redis.call('HGET', ARGV[1] .. name, 'e')
    if not ends then
      -- Redis let go of the value, by its time to live or for want of memory.
      redis.call('ZREM', KEYS[1], name)
      redis.call('ZREM', KEYS[2], name)
    elseif ends == '' or ends > ARGV[4] then
      out[#out + 1] = name
      if #out > limit then return out end
    end
    from = '(' .. name
  end
  looked = looked + #names
  if #names < 256 then return out end
end
out[1] = from
return out
