# Completion of conman-py, conmen-py and "conman-py run" for bash: options, and console names asked of the server.
# Install as /usr/share/bash-completion/completions/conman-py, and link conmen-py to it.

_conman_py_names() {
    # The names that begin with $1. The server is the one that the command line names; it is given two seconds.
    local server=() i
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -d ]]; then
            # bash splits at colons: of "[::1]:99", "[", "::", "1]", ":" and "99" are words of their own
            local host=${COMP_WORDS[++i]}
            while [[ $host == *: || ${COMP_WORDS[i+1]} == :* ]] && ((i + 1 < COMP_CWORD)); do
                host+=${COMP_WORDS[++i]}
            done
            server=(-d "$host")
        fi
    done
    timeout 2 conman-py "${server[@]}" -q -- "${1}*" 2>/dev/null
}

_conman_py() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} IFS=$'\n'
    COMPREPLY=()
    case $previous in
        -F | -l | --credentials) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
        -d) mapfile -t COMPREPLY < <(compgen -A hostname -- "$word"); return ;;
        -T) mapfile -t COMPREPLY < <(compgen -c -- "$word"); return ;;
        -e | -p | -G | -g | --timeout) return ;;
    esac
    if [[ $word == -* ]]; then
        local options='-b -d -e -f -F -h -j -l -L -m -q -Q -r -v -V --status --json --tail'
        [[ ${COMP_WORDS[0]##*/} == conmen-py ]] && options='-d -e -f -g -G -h -j -L -m -q -r -T -V'
        [[ ${COMP_WORDS[1]} == run ]] && options='-d -F -f -j -p -r --credentials --timeout --'
        IFS=' ' read -r -a COMPREPLY <<< "$(compgen -W "${options// /$'\n'}" -- "$word" | tr '\n' ' ')"
        return
    fi
    local before=''
    [[ $word == *,* ]] && before=${word%,*},
    mapfile -t COMPREPLY < <(_conman_py_names "${word##*,}" | sed "s/^/${before//\//\\/}/")
    if ((COMP_CWORD == 1)) && [[ ${COMP_WORDS[0]##*/} == conman-py && run == "$word"* ]]; then
        COMPREPLY+=(run)
    fi
}

complete -F _conman_py conman-py conmen-py
