package admin

import (
	"encoding/base64"
	"net/http"
	"sort"
)

// PageQuery selects a page of a list.
type PageQuery struct {
	Size  int    `query:"page_size" minimum:"1" maximum:"10000" default:"100" doc:"How many at most"`
	Token string `query:"page_token" doc:"next_page_token of the page before"`
}

// Page is what each list tells beside its elements.
type Page struct {
	Next string `json:"next_page_token,omitempty" doc:"page_token of the next page; missing on the last"`
}

// page returns the elements of a list in order of key that the input selects. A page goes on behind
// the last key of the one before, whatever was added or removed meanwhile.
func page[E any](list []E, key func(E) string, in PageQuery) ([]E, Page, error) {
	after, err := base64.RawURLEncoding.DecodeString(in.Token)
	if err != nil {
		return nil, Page{}, problem(http.StatusBadRequest, "page_token: it is none that this API has given")
	}
	if in.Token != "" {
		list = list[sort.Search(len(list), func(i int) bool { return key(list[i]) > string(after) }):]
	}
	if len(list) <= in.Size {
		return list, Page{}, nil
	}
	list = list[:in.Size]
	return list, Page{Next: base64.RawURLEncoding.EncodeToString([]byte(key(list[len(list)-1])))}, nil
}
