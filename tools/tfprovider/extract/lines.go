package extract

import (
	"fmt"
	"regexp"
	"strings"
)

// folder is what the two files of a resource say.
type folder struct {
	kind    string // Resource, DataSource or Provider; "": the folder is about something else
	tfType  string // such as aws_s3_bucket
	version string // of the provider
	main    string // the class of the resource
	config  string // the interface of its arguments

	args     map[string]map[string]*arg      // struct -> Terraform's name of the argument
	computed map[string]map[string]*computed // struct -> Terraform's name of what the provider computes
	required map[string]map[string]bool      // interface -> Terraform's name
}

// arg is one entry of what is written into a configuration.
type arg struct {
	block   bool
	kind    string // simple, list, set, map or struct
	storage string // string, stringList, ...
	of      string // the struct of a block
	many    bool   // blocks of it may be repeated
}

// computed is what a comment and the line after it say.
type computed struct {
	optional bool
	getter   string // such as getStringAttribute
	tolist   bool   // it is a set
	class    string // the struct of an object, or StringMap, ...
	coll     string // List, Map or OutputReference
	set      bool
}

func newFolder() *folder {
	return &folder{args: map[string]map[string]*arg{}, computed: map[string]map[string]*computed{}, required: map[string]map[string]bool{}}
}

var (
	reFunc    = regexp.MustCompile(`^function (\w+)ToHclTerraform\(struct\) \{$`)
	reClass   = regexp.MustCompile(`^class (\w+) extends cdktf\.(\w+) \{$`)
	reEntry   = regexp.MustCompile(`^\s+"?(\w+)"?: \{$`)
	reValue   = regexp.MustCompile(`^\s+value: (.*),$`)
	reField   = regexp.MustCompile(`^\s+(isBlock|type|storageClassType): "?(\w+)"?,$`)
	reStruct  = regexp.MustCompile(`(?:^|\(|\(0, )(?:\w*structs\w*\.)?(\w+)ToHclTerraform\b`)
	reType    = regexp.MustCompile(`terraformResourceType: '(\w+)',`)
	reVersion = regexp.MustCompile(`providerVersion: '([\d.]+)',`)
	reComment = regexp.MustCompile(`^\s+// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)$`)
	reGetter  = regexp.MustCompile(`this\.(\w+)\('(\w+)'\)`)
	reNew     = regexp.MustCompile(`= new (?:\w+\.)?(\w+?)(List|Map|OutputReference)\(this, "(\w+)"(?:, (true|false))?\);$`)

	reInterface = regexp.MustCompile(`^export interface (\w+)`)
	reLink      = regexp.MustCompile(`#(\w+) \w+#\w+\}$`)
	reReadonly  = regexp.MustCompile(`^    readonly (\w+)(\??): `)
)

// readCode reads index.js: types of arguments, and what is computed.
func (f *folder) readCode(text string) error {
	lines := strings.Split(text, "\n")
	var in, class string // the struct whose arguments are listed; that of the class
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "function "):
			in = ""
			if m := reFunc.FindStringSubmatch(line); m != nil {
				in = upper(m[1])
				f.args[in] = map[string]*arg{}
			}
		case strings.HasPrefix(line, "class "):
			if m := reClass.FindStringSubmatch(line); m != nil {
				in, class = "", f.enter(m[1], m[2])
			}
		case strings.HasSuffix(line, "synthesizeHclAttributes() {"):
			in = f.main
			f.args[in] = map[string]*arg{}
		case strings.HasPrefix(line, "    }") && in == f.main:
			in = ""
		case in != "" && strings.HasSuffix(line, ": {"):
			m := reEntry.FindStringSubmatch(line)
			if m == nil || i+4 >= len(lines) {
				return fmt.Errorf("line %d: unknown entry %q", i+1, line)
			}
			a, err := readArg(lines[i+1 : i+5])
			if err != nil {
				return fmt.Errorf("line %d: argument %s: %w", i+1, m[1], err)
			}
			f.args[in][m[1]] = a
			i += 4
		case strings.Contains(line, "terraformResourceType: '"):
			if m := reType.FindStringSubmatch(line); m != nil {
				f.tfType = m[1]
			}
		case strings.Contains(line, "providerVersion: '"):
			if m := reVersion.FindStringSubmatch(line); m != nil {
				f.version = m[1]
			}
		case strings.Contains(line, " - computed: true"):
			if err := f.readComputed(class, lines[i:]); err != nil {
				return fmt.Errorf("line %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// enter notes a class and returns the struct that it is about.
func (f *folder) enter(name, base string) string {
	switch base {
	case "TerraformResource", "TerraformDataSource", "TerraformProvider":
		f.main, f.kind = name, strings.TrimPrefix(base, "Terraform")
		return name
	default:
		return strings.TrimSuffix(name, "OutputReference")
	}
}

func readArg(lines []string) (*arg, error) {
	value := reValue.FindStringSubmatch(lines[0])
	if value == nil {
		return nil, fmt.Errorf("unknown value %q", lines[0])
	}
	a := &arg{}
	for _, line := range lines[1:] {
		m := reField.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("unknown line %q", line)
		}
		switch m[1] {
		case "isBlock":
			a.block = m[2] == "true"
		case "type":
			a.kind = m[2]
		default:
			a.storage = m[2]
		}
	}
	if a.block {
		m := reStruct.FindStringSubmatch(value[1])
		if m == nil {
			return nil, fmt.Errorf("unknown struct of a block %q", value[1])
		}
		a.of, a.many = upper(m[1]), strings.Contains(value[1], "listMapperHcl")
	}
	return a, nil
}

// readComputed reads a comment and what it is about, which is on the line after it or the one after that.
func (f *folder) readComputed(class string, lines []string) error {
	m := reComment.FindStringSubmatch(lines[0])
	if m == nil || len(lines) < 3 {
		return fmt.Errorf("unknown comment %q", lines[0])
	}
	if f.computed[class] == nil {
		f.computed[class] = map[string]*computed{}
	}
	c := &computed{optional: m[3] == "true"}
	f.computed[class][m[1]] = c
	if n := reNew.FindStringSubmatch(lines[1]); n != nil {
		c.class, c.coll, c.set = n[1], n[2], n[4] == "true"
		return nil
	}
	g := reGetter.FindStringSubmatch(lines[2])
	if g == nil {
		return fmt.Errorf("%s is computed, and its type is unknown: %q", m[1], lines[2])
	}
	c.getter, c.tolist = g[1], strings.Contains(lines[2], "Fn.tolist(")
	return nil
}

// readTypes reads index.d.ts: which arguments are required.
func (f *folder) readTypes(text string) {
	var in, name string
	for line := range strings.SplitSeq(text, "\n") {
		if m := reInterface.FindStringSubmatch(line); m != nil {
			in = m[1]
			f.required[in] = map[string]bool{}
			if strings.Contains(line, "extends cdktf.TerraformMetaArguments") || in == "AwsProviderConfig" {
				f.config = in
			}
		} else if strings.HasPrefix(line, "}") {
			in = ""
		} else if in != "" {
			if m := reLink.FindStringSubmatch(line); m != nil {
				name = m[1]
			} else if m := reReadonly.FindStringSubmatch(line); m != nil {
				f.required[in][name] = m[2] == ""
				name = ""
			}
		}
	}
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
