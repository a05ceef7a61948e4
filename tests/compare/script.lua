-- A script interpreter at work: tables, closures, strings.
local n = tonumber(arg and arg[1]) or 150000
local words, count = {}, 0
for i = 1, n do
  local key = string.format("w%d", i * 7919 % 997)
  words[key] = (words[key] or 0) + i
end
for _, v in pairs(words) do count = (count + v) % 1000003 end

local function queens(size)
  local found, columns, up, down = 0, {}, {}, {}
  local function place(row)
    if row > size then found = found + 1 return end
    for c = 1, size do
      if not (columns[c] or up[row + c] or down[row - c]) then
        columns[c], up[row + c], down[row - c] = true, true, true
        place(row + 1)
        columns[c], up[row + c], down[row - c] = nil, nil, nil
      end
    end
  end
  place(1)
  return found
end
print(count, queens(8))
