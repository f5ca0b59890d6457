package objstore_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeS3 is what the drivers need of a store with the protocol of S3, in memory. It
// does not look at signatures.
type fakeS3 struct {
	// before may answer a request, then true, instead of the store.
	before func(w http.ResponseWriter, r *http.Request) bool
	// after is called when a request has been done; true breaks the connection instead of answering.
	after func(r *http.Request) bool
	// unordered lists as a directory bucket does.
	unordered bool

	mu      sync.Mutex
	objects map[string]fakeObject
	uploads map[string]map[int]fakeObject // by id and number
	begun   map[string]fakeUpload         // by id
	ids     int
}

type fakeUpload struct {
	Key       string
	UploadID  string `xml:"UploadId"`
	Initiated string
}

type fakeObject struct {
	data     []byte
	crc      string
	modified time.Time
}

// start serves bucket "b-b" and returns the server's host:port.
func (f *fakeS3) start(t *testing.T) string {
	f.objects, f.uploads = map[string]fakeObject{}, map[string]map[int]fakeObject{}
	f.begun = map[string]fakeUpload{}
	web := httptest.NewServer(f)
	t.Cleanup(web.Close)
	return strings.TrimPrefix(web.URL, "http://")
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.before != nil && f.before(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	answer := httptest.NewRecorder()
	f.serve(answer, r, body)
	if f.after != nil && f.after(r) {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(answer.Body.Bytes())
	}
}

func (f *fakeS3) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	bucket, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	upload, known := f.uploads[query.Get("uploadId")]
	switch {
	case bucket != "b-b":
		fail(w, 404, "NoSuchBucket", "the bucket does not exist")
	case query.Has("uploadId") && !known:
		fail(w, 404, "NoSuchUpload", "the upload does not exist")
	case r.Method == http.MethodGet && query.Has("list-type"):
		f.list(w, query)
	case r.Method == http.MethodGet && query.Has("uploads"):
		f.listUploads(w, query)
	case r.Method == http.MethodPost && query.Has("uploads"):
		f.ids++
		id := strconv.Itoa(f.ids)
		f.uploads[id] = map[int]fakeObject{}
		f.begun[id] = fakeUpload{name, id, time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}
		answerXML(w, struct {
			XMLName xml.Name `xml:"InitiateMultipartUploadResult"`
			ID      string   `xml:"UploadId"`
		}{ID: id})
	case r.Method == http.MethodPut && query.Has("partNumber"):
		number, _ := strconv.Atoi(query.Get("partNumber"))
		if o, ok := accept(w, r, body); ok {
			upload[number] = o
			w.Header().Set("ETag", `"`+o.crc+`"`)
		}
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		delete(f.uploads, query.Get("uploadId"))
		w.WriteHeader(204)
	case r.Method == http.MethodPost && query.Has("uploadId"):
		f.complete(w, r, name, upload)
	case r.Method == http.MethodPut:
		if o, ok := accept(w, r, body); ok && f.mayPut(w, r, name) {
			f.objects[name] = o
		}
	case r.Method == http.MethodDelete:
		delete(f.objects, name)
		w.WriteHeader(204)
	default:
		f.read(w, r, name)
	}
}

func answerXML(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	text, err := xml.Marshal(v)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(text)
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

// accept returns the body as an object if its checksum is right.
func accept(w http.ResponseWriter, r *http.Request, body []byte) (fakeObject, bool) {
	crc := crcText(body)
	if got := r.Header.Get("X-Amz-Checksum-Crc32c"); got != crc {
		fail(w, 400, "BadDigest", "checksum is "+got+" and should be "+crc)
		return fakeObject{}, false
	}
	return fakeObject{data: body, crc: crc, modified: time.Now()}, true
}

func crcText(p []byte) string {
	crc := crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli))
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

func (f *fakeS3) mayPut(w http.ResponseWriter, r *http.Request, name string) bool {
	if _, taken := f.objects[name]; taken && r.Header.Get("If-None-Match") == "*" {
		fail(w, 412, "PreconditionFailed", "the object exists")
		return false
	}
	return true
}

func (f *fakeS3) complete(w http.ResponseWriter, r *http.Request, name string, upload map[int]fakeObject) {
	if !f.mayPut(w, r, name) {
		return
	}
	o := fakeObject{modified: time.Now()}
	var crcs []byte
	for _, number := range slices.Sorted(maps.Keys(upload)) {
		crc, _ := base64.StdEncoding.DecodeString(upload[number].crc)
		crcs = append(crcs, crc...)
		o.data = append(o.data, upload[number].data...)
	}
	o.crc = crcText(crcs) + "-" + strconv.Itoa(len(upload))
	f.objects[name] = o
	delete(f.uploads, r.URL.Query().Get("uploadId"))
	answerXML(w, struct {
		XMLName     xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket, Key string
	}{Bucket: "b-b", Key: name})
}

func (f *fakeS3) read(w http.ResponseWriter, r *http.Request, name string) {
	o, ok := f.objects[name]
	if !ok {
		fail(w, 404, "NoSuchKey", "the object does not exist")
		return
	}
	w.Header().Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(len(o.data)))
		w.Header().Set("X-Amz-Checksum-Crc32c", o.crc)
		return
	}
	var from, to int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n != 2 || from >= len(o.data) {
		fail(w, 416, "InvalidRange", "the range is not satisfiable")
		return
	}
	to = min(to, len(o.data)-1)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(o.data)))
	w.Header().Set("Content-Length", strconv.Itoa(to-from+1))
	w.WriteHeader(206)
	_, _ = w.Write(o.data[from : to+1])
}

// pageSize is small, so that lists have pages.
const pageSize = 5

func (f *fakeS3) list(w http.ResponseWriter, query url.Values) {
	type content struct {
		Key          string
		LastModified string
		Size         int
	}
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		EncodingType          string
		Contents              []content
	}
	page.EncodingType = "url"
	names := slices.Sorted(maps.Keys(f.objects))
	prefix, after := query.Get("prefix"), max(query.Get("start-after"), query.Get("continuation-token"))
	if f.unordered {
		if query.Has("start-after") || prefix != "" && !strings.HasSuffix(prefix, "/") {
			fail(w, 400, "InvalidArgument", "a directory bucket cannot do that")
			return
		}
		slices.Reverse(names)
	}
	skip := after != ""
	for _, name := range names {
		switch {
		case f.unordered && skip:
			skip = name != after
			continue
		case !strings.HasPrefix(name, prefix) || !f.unordered && name <= after:
			continue
		}
		if len(page.Contents) == pageSize {
			page.IsTruncated = true
			page.NextContinuationToken, _ = url.QueryUnescape(page.Contents[pageSize-1].Key)
			break
		}
		o := f.objects[name]
		page.Contents = append(page.Contents, content{url.QueryEscape(name), o.modified.UTC().Format("2006-01-02T15:04:05.000Z"), len(o.data)})
	}
	answerXML(w, page)
}

// listUploads has pages of one.
func (f *fakeS3) listUploads(w http.ResponseWriter, query url.Values) {
	var page struct {
		XMLName            xml.Name `xml:"ListMultipartUploadsResult"`
		IsTruncated        bool
		NextKeyMarker      string
		NextUploadIDMarker string `xml:"NextUploadIdMarker"`
		Upload             []fakeUpload
	}
	var all []fakeUpload
	for id := range f.uploads {
		all = append(all, f.begun[id])
	}
	slices.SortFunc(all, func(a, b fakeUpload) int { return strings.Compare(a.Key+"\x00"+a.UploadID, b.Key+"\x00"+b.UploadID) })
	after := query.Get("key-marker") + "\x00" + query.Get("upload-id-marker")
	for _, u := range all {
		if u.Key+"\x00"+u.UploadID <= after {
			continue
		}
		if len(page.Upload) == 1 {
			page.IsTruncated = true
			page.NextKeyMarker, page.NextUploadIDMarker = page.Upload[0].Key, page.Upload[0].UploadID
			break
		}
		page.Upload = append(page.Upload, u)
	}
	answerXML(w, page)
}
