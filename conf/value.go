package conf

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// convert makes of a TOML value what the key holds: string, bool, int,
// time.Duration, []string or map[string]any. Like is a good value, for the
// complaint.
func convert(k kind, v any, like string) (any, error) {
	switch k {
	case flag:
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return nil, fmt.Errorf("%s is not true or false", show(v))
	case count:
		if n, ok := v.(int64); ok && int64(int(n)) == n {
			return int(n), nil
		}
		return nil, fmt.Errorf("%s is not a whole number", show(v))
	case size:
		return toSize(v)
	case duration:
		if s, ok := v.(string); ok {
			if d, err := time.ParseDuration(s); err == nil {
				return d, nil
			}
		}
		return nil, fmt.Errorf("%s is not a duration (like %s)", show(v), like)
	case list:
		return toList(v, like)
	case table:
		if m, ok := v.(map[string]any); ok {
			return m, nil
		}
		return nil, fmt.Errorf("%s is not a table (like {key = 1})", show(v))
	default:
		if s, ok := v.(string); ok {
			return s, nil
		}
		return nil, fmt.Errorf("%s is not text: put it in quotes", show(v))
	}
}

// convertText is convert for a value of the environment or the command line.
func convertText(k kind, s, like string) (any, error) {
	switch k {
	case flag:
		if s == "true" || s == "false" {
			return s == "true", nil
		}
	case count, size:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return convert(k, n, like)
		}
	case list:
		return splitList(s), nil
	default: // is text in TOML, too
	}
	return convert(k, s, like)
}

func splitList(s string) []string {
	words := []string{}
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return words
}

func toList(v any, like string) ([]string, error) {
	items, ok := v.([]any)
	words := make([]string, len(items))
	for i := 0; ok && i < len(items); i++ {
		words[i], ok = items[i].(string)
	}
	if !ok {
		return nil, fmt.Errorf("%s is not a list of texts (like %s)", show(v), like)
	}
	return words, nil
}

var units = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func toSize(v any) (int, error) {
	bad := fmt.Errorf("%s is not a size (like 65536 or \"64KiB\")", show(v))
	s, ok := v.(string)
	if !ok {
		if n, ok := v.(int64); ok && int64(int(n)) == n {
			return int(n), nil
		}
		return 0, bad
	}
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(digits))
		if err != nil || n > (1<<62)/u.bytes {
			return 0, bad
		}
		return n * u.bytes, nil
	}
	return 0, bad
}

// showSize is the size with the largest unit that divides it.
func showSize(n int) string {
	for _, u := range units {
		if n != 0 && n%u.bytes == 0 {
			return itoa(n/u.bytes) + u.name
		}
	}
	return itoa(n)
}

// show is the value as it would stand in TOML.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case time.Duration:
		return strconv.Quote(short(v))
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case []any:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = show(w)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprint(v)
}

// short is the duration without units that are zero: 24h, not 24h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
