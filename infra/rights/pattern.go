package rights

// Like tells whether text matches one of IAM's patterns, in which * stands for any text and ? for any one
// character, also a slash or a colon. All other characters stand for themselves, in upper or lower case as they are.
func Like(pattern, text string) bool {
	p, s := []rune(pattern), []rune(text)
	star, from := -1, 0 // the last * that was met, and where in s what follows it was tried
	i := 0
	for j := 0; j < len(s); {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i, j = i+1, j+1
		case star >= 0: // the * stands for one character more
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// AnyLike tells whether text matches one of the patterns.
func AnyLike(patterns []string, text string) bool {
	for _, p := range patterns {
		if Like(p, text) {
			return true
		}
	}
	return false
}
